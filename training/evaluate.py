"""What the card says of the model that ships: all of it measured on projects that were held out."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch import nn

from training.collect import Document
from training.dialogues import Turn, chatml, functions, turn_about
from training.export import load_model
from training.formats import Token, ids_of
from training.holes import LineHole, cut_line, human_eval_lines, sample_lines
from training.measure import FORMS, Form, complete, greedy, held_out_loss, matched, nats
from training.prepare import read_documents
from training.repository import line_holes
from training.tokenizer import load_tokenizer, special_id

_FORMS: tuple[Form, ...] = ("line", "suffix-first")
"""What the model is asked in everywhere; the better of them goes into its config.json."""

_LINES = ("rest_of_line", "half_line", "javascript")
"""What editors ask for; equal weights decide between forms."""

_ANSWER_TOKENS = 160
_DIALOGUES_PER_LINE = 0.2


def evaluate(
    folder: Path,
    *,
    human_eval: Path | None = None,
    count: int = 1000,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure the checkpoint in `folder`, rounded as it ships; write and return the numbers.

    `count` lines are drawn; HumanEval's tasks are measured where their file is given.
    """
    model, state = load_model(folder / "checkpoint.pt")
    model.to(torch.bfloat16).to(torch.float32)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    documents = list(read_documents(folder / "held_out.jsonl"))
    python = [document for document in documents if document.language == "python"]
    numbers: dict[str, Any] = {"step": state["step"]}

    def note(name: str, found: Any) -> None:
        numbers[name] = found
        say(f"{name}: {found}")

    note("projects", sorted({document.project for document in documents}))
    note("loss", held_out_loss(model, tokenizer, python, count // 4, random.Random(seed)))
    for name, holes in _tasks(python, documents, human_eval, count, seed).items():
        for form in FORMS if name == "rest_of_line" else _FORMS:
            completions = complete(model, tokenizer, holes, form)
            found: dict[str, Any] = matched(holes, completions)
            if name == "rest_of_line":
                found["still_parses"] = round(parse_rate(holes, completions), 4)
            note(f"{name} {form}", found)
    note("fim_form", best_form(numbers))
    turns = held_out_turns(python, max(8, int(count * _DIALOGUES_PER_LINE)), seed)
    note("dialogue", measure_dialogue(model, tokenizer, turns))
    (folder / "evaluation.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return numbers


def best_form(numbers: Mapping[str, Any]) -> str:
    """Return the form that completes most of what editors ask for: the mean over the line measures.

    One measure alone would be decided by chance, and would know nothing of other languages.
    """

    def mean(form: str) -> float:
        names = (f"{name} {form}" for name in _LINES)
        found = [float(numbers[name]["exact_match"]) for name in names if name in numbers]
        return sum(found) / len(found)

    return max(_FORMS, key=mean)


def _tasks(
    python: Sequence[Document],
    documents: Sequence[Document],
    human_eval: Path | None,
    count: int,
    seed: int,
) -> dict[str, list[LineHole]]:
    rng = random.Random(seed)
    lines = sample_lines(python, count, rng)
    scripts = [document for document in documents if document.language == "javascript"]
    tasks = {
        "rest_of_line": [cut_line(document.text, line, rng.random()) for document, line in lines],
        "half_line": [cut_line(document.text, line, 0.5) for document, line in lines],
        "javascript": line_holes(scripts, count // 2, rng),
    }
    if human_eval is not None and human_eval.exists():
        tasks["human_eval_single_line"] = human_eval_lines(human_eval)
    return {name: holes for name, holes in tasks.items() if holes}


def parse_rate(holes: Sequence[LineHole], completions: Sequence[str]) -> float:
    """Return the share of completed files that parse, of those that did before the hole was cut."""
    good = [
        parses(hole.prefix + text.split("\n")[0] + hole.suffix)
        for hole, text in zip(holes, completions, strict=True)
        if parses(hole.prefix + hole.middle + hole.suffix)
    ]
    return sum(good) / max(1, len(good))


def parses(text: str) -> bool:
    """Whether a text is Python."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def held_out_turns(documents: Sequence[Document], count: int, seed: int) -> list[Turn]:
    """Return dialogues about held-out files, mined as the ones that were learned."""
    rng = random.Random(seed)
    found = [
        function
        for document in documents
        for function in functions(document.text)
        if function.short
    ]
    rng.shuffle(found)
    return [turn_about(function, rng) for function in found[:count]]


def measure_dialogue(
    model: nn.Module, tokenizer: tokenizers.Tokenizer, turns: Sequence[Turn]
) -> dict[str, float]:
    """Return how the model answers: nats a token of the true answers, and its own answers' form.

    `well_formed` is the share of greedy answers that are what was asked for: a function in a code
    block that parses, a docstring in quotes, one line that explains.
    """
    end = special_id(tokenizer, "<|end|>")
    window = int(model.config.n_positions)  # type: ignore[union-attr, arg-type]
    total, tokens, prompts, asked = 0.0, 0, list[list[int]](), list[Turn]()
    for turn in turns:
        segments = chatml(turn)
        answer = next(i for i, s in enumerate(segments) if s == Token("<|assistant|>")) + 1
        prompt, ids = ids_of(segments[:answer], tokenizer), ids_of(segments, tokenizer)
        if len(ids) <= window and len(prompt) + _ANSWER_TOKENS <= window:
            total += float(nats(model, torch.tensor([ids]), len(prompt)))
            tokens += len(ids) - len(prompt)
            prompts.append(prompt)
            asked.append(turn)
    answers = [
        text
        for at in range(0, len(prompts), 16)
        for text in greedy(
            model, tokenizer, prompts[at : at + 16], end, most=_ANSWER_TOKENS, one_line=False
        )
    ]
    formed = sum(well_formed(turn, text) for turn, text in zip(asked, answers, strict=True))
    return {
        "count": len(asked),
        "nats_per_token": round(total / max(1, tokens), 4),
        "well_formed": round(formed / max(1, len(asked)), 4),
    }


def well_formed(turn: Turn, answer: str) -> bool:
    """Whether an answer is of the kind that was asked for; says nothing about what it says."""
    answer = answer.strip()
    if turn.task in {"write", "test"}:
        return answer.startswith("```python\n") and answer.endswith("\n```") and _defines(answer)
    if turn.task == "document":
        return len(answer) > 6 and answer.startswith('"""') and answer.endswith('"""')
    return bool(answer) and "\n" not in answer


def _defines(answer: str) -> bool:
    code = "\n".join(answer.split("\n")[1:-1])
    return code.lstrip().startswith(("def ", "@", "async ")) and parses(code)

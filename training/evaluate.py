"""Measure the demo model on held-out projects: the numbers in its model card."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from transformers import PreTrainedModel

from training.checkpoint import load_checkpoint
from training.collect import CorpusDocument
from training.corpus import load_held_out
from training.dialogues import MinedDialogue, chatml_segments, dialogue_about
from training.formats import SpecialToken, encode_segments
from training.functions import documented_functions, parse_python
from training.holes import (
    LineHole,
    cut_line,
    read_human_eval_holes,
    sample_line_holes,
    sample_lines,
)
from training.measure import (
    FIM_FORMS,
    FimForm,
    complete_holes,
    decode_greedily,
    decoding_batch,
    match_statistics,
    measure_loss,
    summed_nats,
)
from training.tokenizer import load_tokenizer, special_id

_COMPARED_FORMS: tuple[FimForm, ...] = ("line", "suffix-first")
"""Forms that every task is measured in; the better one is written to the model's config.json."""

_OTHER_LANGUAGES = ("javascript", "typescript", "go", "rust", "java")
"""Languages other than Python whose lines are completed, if they are held out."""

_EDITOR_TASKS = ("rest_of_line", "half_line", *_OTHER_LANGUAGES)
"""Tasks that editors ask for; the form with the best unweighted mean over them is chosen."""

_PARSED_TASK = "rest_of_line"
"""Task that is measured in all forms, and whose completed files are parsed."""

_MAX_ANSWER_TOKENS = 160
_DIALOGUES_PER_LINE = 0.2


def evaluate(
    folder: Path,
    *,
    corpus: Path | None = None,
    human_eval: Path | None = None,
    count: int = 1000,
    seed: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure the checkpoint in `folder`, rounded as it ships; write and return the numbers.

    `corpus` is the folder of the corpus and tokenizer, if it is another one. `count` is the number
    of lines of Python. HumanEval's tasks are measured if `human_eval` is their file. `dtype` is
    that of the computation; the weights are rounded to bfloat16 in any case.
    """
    checkpoint = load_checkpoint(folder / "checkpoint.pt")
    model = checkpoint.model
    model.to(torch.bfloat16).to(dtype)
    model.to(device or torch.device("cpu"))
    corpus = corpus or folder
    tokenizer = load_tokenizer(corpus / "tokenizer.json")
    documents = list(load_held_out(corpus))
    python = [document for document in documents if document.language == "python"]
    numbers: dict[str, Any] = {"step": checkpoint.step}

    def record(name: str, value: object) -> None:
        numbers[name] = value
        say(f"{name}: {value}")

    record("projects", sorted({document.project for document in documents}))
    record("loss", measure_loss(model, tokenizer, python, max(1, count // 4), random.Random(seed)))
    for task, holes in _line_tasks(python, documents, human_eval, count, seed).items():
        for form in FIM_FORMS if task == _PARSED_TASK else _COMPARED_FORMS:
            completions = complete_holes(model, tokenizer, holes, form)
            statistics = match_statistics(holes, completions)
            if task == _PARSED_TASK:
                statistics["still_parses"] = round(parse_rate(holes, completions), 4)
            record(f"{task} {form}", statistics)
    record("fim_form", best_form(numbers))
    dialogues = held_out_dialogues(python, max(8, int(count * _DIALOGUES_PER_LINE)), seed)
    record("dialogue", measure_dialogues(model, tokenizer, dialogues))
    (folder / "evaluation.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return numbers


def best_form(numbers: Mapping[str, Any]) -> str:
    """Return the form with the best mean exact match over the tasks that editors ask for.

    A single task would leave the choice to chance and would ignore the other languages.
    """

    def mean(form: str) -> float:
        names = (f"{task} {form}" for task in _EDITOR_TASKS)
        rates = [float(numbers[name]["exact_match"]) for name in names if name in numbers]
        return sum(rates) / len(rates)

    return max(_COMPARED_FORMS, key=mean)


def _line_tasks(
    python: Sequence[CorpusDocument],
    documents: Sequence[CorpusDocument],
    human_eval: Path | None,
    count: int,
    seed: int,
) -> dict[str, list[LineHole]]:
    rng = random.Random(seed)
    lines = sample_lines(python, count, rng)
    tasks = {
        "rest_of_line": [cut_line(document.text, line, rng.random()) for document, line in lines],
        "half_line": [cut_line(document.text, line, 0.5) for document, line in lines],
    }
    for language in _OTHER_LANGUAGES:
        files = [document for document in documents if document.language == language]
        tasks[language] = sample_line_holes(files, count // 2, rng)
    if human_eval is not None and human_eval.exists():
        tasks["human_eval_single_line"] = read_human_eval_holes(human_eval)
    return {name: holes for name, holes in tasks.items() if holes}


def parse_rate(holes: Sequence[LineHole], completions: Sequence[str]) -> float:
    """Return the share of completed files that parse, of those whose original file parses."""
    parsed = [
        parse_python(hole.prefix + text.split("\n")[0] + hole.suffix) is not None
        for hole, text in zip(holes, completions, strict=True)
        if parse_python(hole.prefix + hole.middle + hole.suffix) is not None
    ]
    return sum(parsed) / max(1, len(parsed))


def held_out_dialogues(
    documents: Sequence[CorpusDocument], count: int, seed: int
) -> list[MinedDialogue]:
    """Return dialogues about held-out files, mined in the same way as the training dialogues."""
    rng = random.Random(seed)
    functions = [
        function
        for document in documents
        for function in documented_functions(document.text)
        if function.is_short
    ]
    rng.shuffle(functions)
    return [dialogue_about(function, rng) for function in functions[:count]]


def measure_dialogues(
    model: PreTrainedModel, tokenizer: tokenizers.Tokenizer, dialogues: Sequence[MinedDialogue]
) -> dict[str, float]:
    """Return the loss on the true answers, in nats per token, and the form of greedy answers.

    `well_formed` is the share of greedy answers that have the requested form: a function in a code
    block that parses, a docstring in quotes, or an explanation of one line.
    """
    window = int(model.config.n_positions)
    total_nats, num_tokens = 0.0, 0
    prompts, measured = list[list[int]](), list[MinedDialogue]()
    for dialogue in dialogues:
        segments = chatml_segments(dialogue)
        answer_start = segments.index(SpecialToken("<|assistant|>")) + 1
        prompt = encode_segments(segments[:answer_start], tokenizer)
        ids = encode_segments(segments, tokenizer)
        if len(ids) <= window and len(prompt) + _MAX_ANSWER_TOKENS <= window:
            total_nats += float(
                summed_nats(model, torch.tensor([ids], device=model.device), len(prompt))
            )
            num_tokens += len(ids) - len(prompt)
            prompts.append(prompt)
            measured.append(dialogue)
    num_well_formed = sum(map(is_well_formed, measured, _answer(model, tokenizer, prompts)))
    return {
        "count": len(measured),
        "nats_per_token": round(total_nats / max(1, num_tokens), 4),
        "well_formed": round(num_well_formed / max(1, len(measured)), 4),
    }


def _answer(
    model: PreTrainedModel, tokenizer: tokenizers.Tokenizer, prompts: Sequence[Sequence[int]]
) -> Iterator[str]:
    """Yield the greedy answer to each prompt."""
    end = special_id(tokenizer, "<|end|>")
    size = decoding_batch(model)
    for start in range(0, len(prompts), size):
        yield from decode_greedily(
            model,
            tokenizer.decode,
            prompts[start : start + size],
            (end,),
            max_new_tokens=_MAX_ANSWER_TOKENS,
            single_line=False,
        )


def is_well_formed(dialogue: MinedDialogue, answer: str) -> bool:
    """Whether an answer has the form that its request asks for; its content is not checked."""
    answer = answer.strip()
    if dialogue.task in {"write", "test"}:
        is_block = answer.startswith("```python\n") and answer.endswith("\n```")
        return is_block and _is_function("\n".join(answer.split("\n")[1:-1]))
    if dialogue.task == "document":
        return len(answer) > 6 and answer.startswith('"""') and answer.endswith('"""')
    return bool(answer) and "\n" not in answer


def _is_function(code: str) -> bool:
    return code.lstrip().startswith(("def ", "@", "async ")) and parse_python(code) is not None

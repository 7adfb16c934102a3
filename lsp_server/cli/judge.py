"""`starcoder-lsp judge PROMPTS`: compare two models, or two files of answers, by a third model."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from chat.asker import Asker, ChatSettings
from chat.judging import AnswerPair, AskJudge, Comparison, JudgedPair, compare, judge
from engine.api import Message
from engine.client.managed import DEFAULT_COMMAND, ManagedEngine
from engine.errors import ConfigurationError, EngineUnavailableError
from engine.settings import EngineSettings
from lsp_server.cli import common

_TOKEN_VARIABLE = "STARCODER_LSP_JUDGE_TOKEN"
_TIMEOUT_S = 120.0
"""Seconds that one answer of the judge may take."""


def judge_models(
    prompts: Annotated[
        Path, typer.Argument(help="File of JSON lines with a `prompt`, or of lines of plain text.")
    ],
    a: Annotated[
        str, typer.Option("--a", help="First model, or a .jsonl file with `prompt` and `answer`.")
    ],
    b: Annotated[str, typer.Option("--b", help="Second model or file.")],
    judge_url: Annotated[
        str, typer.Option(help="URL of the judge, an OpenAI-compatible server, up to /v1.")
    ],
    judge_model: Annotated[str, typer.Option(help="Model of the judge.")],
    adapter_a: Annotated[str | None, typer.Option(help="Chat adapter of the first model.")] = None,
    adapter_b: Annotated[str | None, typer.Option(help="Chat adapter of the second model.")] = None,
    offline: common.Offline = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the answers, the scores and the judge's texts to this file."),
    ] = None,
) -> None:
    """Let a judge score the answers of two models from 1 to 8, each pair in both orders.

    The judge receives the prompts and the answers. Its token is read from
    STARCODER_LSP_JUDGE_TOKEN. Pairs without readable scores are counted and left out.
    """
    with common.plain_errors():
        questions = read_prompts(prompts)
        answers = [
            asyncio.run(_answers(name, adapter, questions, offline))
            for name, adapter in ((a, adapter_a), (b, adapter_b))
        ]
        pairs = [AnswerPair(*row) for row in zip(questions, *answers, strict=True)]
        judged_pairs = asyncio.run(_judge_all(pairs, judge_url, judge_model))
        if out is not None:
            lines = "".join(json.dumps(asdict(pair)) + "\n" for pair in judged_pairs)
            out.write_text(lines, encoding="utf-8")
        comparison = compare(judged_pairs)
        if comparison is None:
            raise ConfigurationError(
                "The judge wrote no readable scores: its first lines are not two numbers from 1 "
                "to 8. Use a stronger judge. The file of --out has its texts."
            )
        Console(highlight=False).print(_table(comparison, a, b))


def read_prompts(file: Path) -> list[str]:
    """Return the prompts of a file; raises ConfigurationError."""
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    prompts = []
    for number, line in enumerate(lines, start=1):
        if not line.startswith("{"):
            prompts.append(line)
            continue
        row = _parse_row(file, number, line)
        text = row.get("prompt") or row.get("text")
        if not isinstance(text, str):
            raise ConfigurationError(f"{file}, line {number}: `prompt` is missing.")
        prompts.append(text)
    if not prompts:
        raise ConfigurationError(f"{file} has no prompts.")
    return prompts


def _parse_row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"{file}, line {number}: {error}") from None
    if not isinstance(row, dict):
        raise ConfigurationError(f"{file}, line {number}: this is not a JSON object.")
    return row


async def _answers(
    name: str, adapter: str | None, questions: Sequence[str], offline: bool
) -> list[str]:
    """Return the greedy answers of a model, or the answers in a file."""
    if name.endswith(".jsonl"):
        return _read_answers(Path(name), questions)
    settings = EngineSettings(model=name, offline=offline)
    command = (*DEFAULT_COMMAND, "--chat-renderer", "chat.rendering:render")
    engine = ManagedEngine(settings, command)
    asker = Asker(engine, ChatSettings(adapter=adapter))
    answers = []
    try:
        for question in track(questions, f"{name} answers", console=common.stderr()):
            answers.append((await asker.ask([Message("user", question)])).text.strip())
    finally:
        await engine.aclose()
    return answers


def _read_answers(file: Path, questions: Sequence[str]) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [
        _parse_row(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    answers = {row.get("prompt"): row.get("answer") for row in rows}
    missing = [question for question in questions if not isinstance(answers.get(question), str)]
    if missing:
        raise ConfigurationError(f"{file} has no answer to {missing[0][:60]!r}.")
    return [str(answers[question]) for question in questions]


async def _judge_all(pairs: Sequence[AnswerPair], url: str, model: str) -> list[JudgedPair]:
    token = os.environ.get(_TOKEN_VARIABLE)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    base = url.rstrip("/").removesuffix("/v1")
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=_TIMEOUT_S) as http:
        ask = _ask_judge(http, model)
        progress = track(pairs, "the judge scores", console=common.stderr())
        return [await judge(pair, ask) for pair in progress]


def _ask_judge(http: httpx2.AsyncClient, model: str) -> AskJudge:
    async def ask(text: str) -> str:
        body = {
            "model": model,
            "temperature": 0,
            "max_tokens": 512,
            "messages": [{"role": "user", "content": text}],
        }
        try:
            response = await http.post("/v1/chat/completions", json=body)
            if response.status_code >= 400:
                raise EngineUnavailableError(
                    f"The judge answered with HTTP {response.status_code}: {response.text[:200]}"
                )
            return str(response.json()["choices"][0]["message"]["content"])
        except httpx2.HTTPError as error:
            raise EngineUnavailableError(
                f"The judge at {http.base_url} does not answer: {type(error).__name__}."
            ) from None
        except (ValueError, KeyError, IndexError, TypeError):
            raise EngineUnavailableError(
                f"{http.base_url} does not answer in the format of OpenAI's API."
            ) from None

    return ask


def _table(comparison: Comparison, a: str, b: str) -> Table:
    title = (
        f"{comparison.num_judged} prompts, each judged in both orders; "
        f"{comparison.num_unreadable} unreadable"
    )
    table = common.make_table(title, "", "score, 1 to 8", "wins", "win rate (95 %)")
    wins_b = comparison.num_judged - comparison.wins - comparison.ties
    table.add_row(
        a,
        f"{comparison.mean_a:.2f} ± {comparison.deviation_a:.2f}",
        str(comparison.wins),
        f"{comparison.win_rate:.0%} ({comparison.low:.0%} to {comparison.high:.0%})",
    )
    table.add_row(
        b,
        f"{comparison.mean_b:.2f} ± {comparison.deviation_b:.2f}",
        str(wins_b),
        f"{1 - comparison.win_rate:.0%} ({1 - comparison.high:.0%} to {1 - comparison.low:.0%})",
    )
    table.add_row("equal", "", str(comparison.ties), "")
    return table

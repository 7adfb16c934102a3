"""`starcoder-lsp judge PROMPTS`: two models, or two files of answers, judged by a third model."""

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
_SECONDS = 120.0


def judge_models(
    prompts: Annotated[
        Path, typer.Argument(help="JSON lines with `prompt` each, or lines of plain text.")
    ],
    a: Annotated[str, typer.Option("--a", help="A model, or JSON lines of prompt and answer.")],
    b: Annotated[str, typer.Option("--b", help="The other.")],
    judge_url: Annotated[str, typer.Option(help="An OpenAI-compatible server, up to /v1.")],
    judge_model: Annotated[str, typer.Option(help="The model there.")],
    adapter_a: Annotated[str | None, typer.Option(help="Chat adapter of A.")] = None,
    adapter_b: Annotated[str | None, typer.Option(help="Chat adapter of B.")] = None,
    offline: common.Offline = False,
    out: Annotated[
        Path | None, typer.Option(help="Write answers, scores and the judge's words here.")
    ] = None,
) -> None:
    """Score the answers of two models from 1 to 8, each pair in both orders.

    The judge's token is read from STARCODER_LSP_JUDGE_TOKEN. What is sent to it is the prompts and
    the answers. Pairs whose scores cannot be read are counted and left out.
    """
    with common.plain_errors():
        questions = read_prompts(prompts)
        answers = [
            asyncio.run(_answers(name, adapter, questions, offline))
            for name, adapter in ((a, adapter_a), (b, adapter_b))
        ]
        pairs = [AnswerPair(*one) for one in zip(questions, *answers, strict=True)]
        found = asyncio.run(_judged(pairs, judge_url, judge_model))
        if out is not None:
            lines = "".join(json.dumps(asdict(one)) + "\n" for one in found)
            out.write_text(lines, encoding="utf-8")
        summary = compare(found)
        if summary is None:
            raise ConfigurationError(
                "The judge wrote no scores that could be read: its first lines are no two numbers "
                "from 1 to 8. Take a stronger judge; its words are in the file of --out."
            )
        Console(highlight=False).print(_table(summary, a, b))


def read_prompts(file: Path) -> list[str]:
    """Return the prompts of a file; raises ConfigurationError."""
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.startswith("{"):
            found.append(line)
            continue
        row = _row(file, number, line)
        text = row.get("prompt") or row.get("text")
        if not isinstance(text, str):
            raise ConfigurationError(f"{file}, line {number}: it has no `prompt`.")
        found.append(text)
    if not found:
        raise ConfigurationError(f"{file} holds no prompts.")
    return found


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigurationError(f"{file}, line {number}: {error}") from None
    if not isinstance(row, dict):
        raise ConfigurationError(f"{file}, line {number}: it is no JSON object.")
    return row


async def _answers(
    name: str, adapter: str | None, questions: Sequence[str], offline: bool
) -> list[str]:
    """Return a model's answers, greedily, or those of a file."""
    if name.endswith(".jsonl"):
        return _answers_of_file(Path(name), questions)
    settings = EngineSettings(model=name, offline=offline)
    command = (*DEFAULT_COMMAND, "--chat-renderer", "chat.rendering:render")
    engine = ManagedEngine(settings, command)
    asker = Asker(engine, ChatSettings(adapter=adapter))
    made = []
    try:
        for question in track(questions, f"{name} answers", console=common.stderr()):
            made.append((await asker.ask([Message("user", question)])).text.strip())
    finally:
        await engine.aclose()
    return made


def _answers_of_file(file: Path, questions: Sequence[str]) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [_row(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    known = {row.get("prompt"): row.get("answer") for row in rows}
    missing = [one for one in questions if not isinstance(known.get(one), str)]
    if missing:
        raise ConfigurationError(f"{file} has no answer to {missing[0][:60]!r}.")
    return [str(known[one]) for one in questions]


async def _judged(pairs: Sequence[AnswerPair], url: str, model: str) -> list[JudgedPair]:
    token = os.environ.get(_TOKEN_VARIABLE)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    base = url.rstrip("/").removesuffix("/v1")
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=_SECONDS) as http:
        ask = _ask(http, model)
        shown = track(pairs, "the judge reads", console=common.stderr())
        return [await judge(pair, ask) for pair in shown]


def _ask(http: httpx2.AsyncClient, model: str) -> AskJudge:
    async def ask(text: str) -> str:
        body = {
            "model": model,
            "temperature": 0,
            "max_tokens": 512,
            "messages": [{"role": "user", "content": text}],
        }
        try:
            answer = await http.post("/v1/chat/completions", json=body)
            if answer.status_code >= 400:
                raise EngineUnavailableError(
                    f"The judge answered with HTTP {answer.status_code}: {answer.text[:200]}"
                )
            return str(answer.json()["choices"][0]["message"]["content"])
        except httpx2.HTTPError as error:
            raise EngineUnavailableError(
                f"The judge at {http.base_url} does not answer: {type(error).__name__}."
            ) from None
        except (ValueError, KeyError, IndexError, TypeError):
            raise EngineUnavailableError(
                f"{http.base_url} does not answer as OpenAI's API does."
            ) from None

    return ask


def _table(summary: Comparison, a: str, b: str) -> Table:
    title = (
        f"{summary.num_judged} prompts, each judged in both orders; "
        f"{summary.num_unreadable} unreadable"
    )
    table = Table(title=title, title_justify="left")
    for column in ("", "score, 1 to 8", "wins", "win rate (95 %)"):
        table.add_column(column)
    lost = summary.num_judged - summary.wins - summary.ties
    table.add_row(
        a,
        f"{summary.mean_a:.2f} ± {summary.deviation_a:.2f}",
        str(summary.wins),
        f"{summary.win_rate:.0%} ({summary.low:.0%} to {summary.high:.0%})",
    )
    table.add_row(
        b,
        f"{summary.mean_b:.2f} ± {summary.deviation_b:.2f}",
        str(lost),
        f"{1 - summary.win_rate:.0%} ({1 - summary.high:.0%} to {1 - summary.low:.0%})",
    )
    table.add_row("equal", "", str(summary.ties), "")
    return table

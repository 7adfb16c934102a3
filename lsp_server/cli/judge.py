"""`starcoder-lsp judge PROMPTS`: compare two models, or two files of answers, by a third model."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.markup import escape
from rich.progress import Progress

from chat.asker import Asker, ChatSettings
from chat.judging import AnswerPair, Comparison, JudgedPair, compare, judge
from engine.api import Message
from engine.errors import ConfigurationError, reason_of
from engine.settings import EngineSettings
from lsp_server.cli import common, terminal
from lsp_server.cli.engine_server import EngineServer, choose_engine, read_server
from lsp_server.cli.judge_server import Judge, check_url
from lsp_server.cli.outputs import check_output, write_output
from lsp_server.cli.token import choose_token
from lsp_server.session.engine_choice import EngineChoice, create_engine

_TOKEN_VARIABLE = "STARCODER_LSP_JUDGE_TOKEN"
T = TypeVar("T")


def judge_models(
    context: typer.Context,
    prompts: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPTS", help="File of JSON lines with a `prompt`, or of lines of plain text."
        ),
    ],
    a: Annotated[
        str, typer.Option("--a", help="First model, or a .jsonl file with `prompt` and `answer`.")
    ],
    b: Annotated[str, typer.Option("--b", help="Second model or file.")],
    judge_url: Annotated[
        str, typer.Option(help="URL of the judge, an OpenAI-compatible server, up to /v1.")
    ],
    judge_model: Annotated[str, typer.Option(help="Model of the judge.")],
    judge_token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File with the judge's token. The variable {_TOKEN_VARIABLE} works too."
        ),
    ] = None,
    adapter_a: Annotated[str | None, typer.Option(help="Chat adapter of the first model.")] = None,
    adapter_b: Annotated[str | None, typer.Option(help="Chat adapter of the second model.")] = None,
    offline: common.Offline = False,
    engine_url: common.EngineUrl = None,
    engine_token: common.EngineToken = None,
    tokenizer: common.TokenizerOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the answers, the scores and the judge's texts to this file."),
    ] = None,
) -> None:
    """Let a judge score the answers of two models from 1 to 8, each pair in both orders.

    The judge receives the prompts and the answers. Pairs without readable scores are counted and
    left out. With --engine-url, --a and --b are names of models there.
    """
    with common.plain_errors(model_option="--a or --b"):
        check_output(out, "--out")
        engine_server = read_server(context, engine_url, engine_token, None, tokenizer)
        token = choose_token(os.environ.get(_TOKEN_VARIABLE), judge_token_file)
        server = Judge(check_url(judge_url), judge_model, token)
        questions = read_prompts(prompts)
        read = [
            _read_answers(Path(name), questions) if name.endswith(".jsonl") else None
            for name in (a, b)
        ]
        asyncio.run(server.check())
        answers = [
            from_file
            or asyncio.run(
                _answers(_engine(name, offline, engine_server), name, adapter, questions)
            )
            for from_file, name, adapter in zip(read, (a, b), (adapter_a, adapter_b), strict=True)
        ]
        pairs = [AnswerPair(*row) for row in zip(questions, *answers, strict=True)]
        judged_pairs = asyncio.run(_judge_all(pairs, server))
        if out is not None:
            write_output(out, "".join(json.dumps(asdict(pair)) + "\n" for pair in judged_pairs))
        comparison = compare(judged_pairs)
        if comparison is None:
            texts = "Give --out FILE to see its texts." if out is None else f"{out} has its texts."
            raise ConfigurationError(
                "The judge wrote no readable scores: its first lines are not two numbers from 1 "
                f"to 8. Use a stronger judge. {texts}"
            )
        _print_comparison(comparison, a, b)


def read_prompts(file: Path) -> list[str]:
    """Return the prompts of a file; raises ConfigurationError."""
    prompts = []
    for number, line in _lines(file):
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


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers; raises ConfigurationError."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {reason_of(error)}.") from None
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _parse_row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        raise ConfigurationError(f"{file}, line {number}: it is not valid JSON.") from None
    if not isinstance(row, dict):
        raise ConfigurationError(f"{file}, line {number}: it is not a JSON object.")
    return row


def _engine(name: str, offline: bool, server: EngineServer | None) -> EngineChoice:
    """Return the engine of a model: on this machine, or under its name at a server."""
    settings = EngineSettings(model=name, offline=offline)
    return choose_engine(settings, None if server is None else replace(server, model=name))


async def _answers(
    choice: EngineChoice, name: str, adapter: str | None, questions: Sequence[str]
) -> list[str]:
    """Return the greedy answers of a model."""
    engine = create_engine(choice)
    asker = Asker(engine, ChatSettings(adapter=adapter))
    answers = []
    try:
        for question in _with_progress(questions, f"{name} answers"):
            answers.append((await asker.ask([Message("user", question)])).text.strip())
    finally:
        await engine.aclose()
    return answers


def _with_progress(items: Sequence[T], title: str) -> Iterator[T]:
    with Progress(console=common.stderr(), transient=True) as progress:
        yield from progress.track(items, description=escape(common.printable(title)))


def _read_answers(file: Path, questions: Sequence[str]) -> list[str]:
    rows = [_parse_row(file, number, line) for number, line in _lines(file)]
    answers = {
        row["prompt"]: row.get("answer") for row in rows if isinstance(row.get("prompt"), str)
    }
    missing = [question for question in questions if not isinstance(answers.get(question), str)]
    if missing:
        raise ConfigurationError(f"{file} has no answer to {missing[0][:60]!r}.")
    return [str(answers[question]) for question in questions]


async def _judge_all(pairs: Sequence[AnswerPair], server: Judge) -> list[JudgedPair]:
    async with server.client() as http:
        ask = server.asking(http)
        return [await judge(pair, ask) for pair in _with_progress(pairs, "the judge scores")]


def _print_comparison(comparison: Comparison, a: str, b: str) -> None:
    wins_b = comparison.num_judged - comparison.wins - comparison.ties
    rows = [
        (
            a,
            f"{comparison.mean_a:.2f} ± {comparison.deviation_a:.2f}",
            str(comparison.wins),
            f"{comparison.win_rate:.0%} ({comparison.low:.0%} to {comparison.high:.0%})",
        ),
        (
            b,
            f"{comparison.mean_b:.2f} ± {comparison.deviation_b:.2f}",
            str(wins_b),
            f"{1 - comparison.win_rate:.0%} ({1 - comparison.high:.0%} to "
            f"{1 - comparison.low:.0%})",
        ),
        ("equal", "", str(comparison.ties), ""),
    ]
    title = (
        f"{comparison.num_judged} prompts, each judged in both orders; "
        f"{comparison.num_unreadable} unreadable"
    )
    terminal.print_table(title, ("", "score, 1 to 8", "wins", "win rate (95 %)"), rows)

"""`starcoder-lsp replay PATH`: type real files through the real server, and count what it saved."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from engine.errors import ConfigurationError
from fim.confidence import Eagerness
from fim.evaluation.holes import File, source_files
from fim.evaluation.report import percentile
from fim.snapshot import Source
from lsp_server.cli import common
from lsp_server.cli.editor import Ghost, ScriptedEditor, editor_with_server
from syntax.grammars import errors

_SPREAD = 0.5
"""Of the gaps between keys, about the median, on a log scale: typing is uneven."""

_WITHOUT_MODEL = frozenset({Source.CACHE, Source.TYPED_THROUGH, Source.JOINED})
"""Answers for which the model was not asked anew."""


@dataclass
class Tally:
    """What happened while one passage was typed."""

    path: str
    characters: int
    """Of the passage, without the indentation that an editor puts by itself."""
    keys: int = 0
    """Pressed, an accepted suggestion being one."""
    accepted: int = 0
    accepted_characters: int = 0
    shown: int = 0
    """Suggestions that came before the next key and were not on the screen already."""
    broke: int = 0
    """Of those, how many would have broken a file that parsed without them."""
    answers: dict[str, int] = field(default_factory=dict)
    """Keys after the first suggestion, by where their answer came from."""
    milliseconds: list[float] = field(default_factory=list)
    """From a key to the suggestion it brought."""


def replay(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A repository.")],
    files: Annotated[int, typer.Option(min=1, help="How many, drawn at random.")] = 20,
    lines: Annotated[int, typer.Option(min=1, help="Lines to type in each.")] = 6,
    gap_ms: Annotated[int, typer.Option(min=1, help="Median pause between keys.")] = 150,
    seed: Annotated[int, typer.Option(help="Of files, passages and pauses.")] = 0,
    model: common.Model = common.DEFAULT_MODEL,
    eagerness: Annotated[Eagerness, typer.Option(help="As the setting.")] = "balanced",
    adapter: Annotated[str | None, typer.Option(help="An adapter that `tune` made.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Keep the numbers.")] = None,
) -> None:
    """Type passages of real files key by key, accepting what is right, and count what was saved.

    A suggestion is accepted when it is what the file has there, to its last character.
    """
    with common.plain_errors():
        chosen = passages(source_files(path), files, lines, seed)
        if not chosen:
            raise ConfigurationError(f"{path} has no files of source that are long enough.")
        settings = {"model": model, "eagerness": eagerness, "adapter": adapter,
                    "statistics": False}  # fmt: skip
        tallies = asyncio.run(_type_all(chosen, settings, gap_ms, seed))
    _show(tallies)
    if out is not None:
        out.write_text(json.dumps([asdict(one) for one in tallies], indent=1), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Passage:
    """A file and the part of it that is typed."""

    file: File
    start: int
    end: int


def passages(files: Sequence[File], count: int, lines: int, seed: int) -> list[Passage]:
    """Draw files, and in each whole lines that begin with code."""
    rng = random.Random(seed)
    shuffled = list(files)
    rng.shuffle(shuffled)
    found = []
    for file in shuffled:
        starts = [0]
        for line in file.text.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        fitting = [
            (start, end)
            for start, end in zip(starts, starts[lines:], strict=False)
            if file.text[start:end].strip()
        ]
        if fitting and "\r" not in file.text:
            found.append(Passage(file, *rng.choice(fitting)))
        if len(found) == count:
            break
    return found


async def _type_all(
    chosen: Sequence[Passage], settings: dict[str, Any], gap_ms: int, seed: int
) -> list[Tally]:
    rng = random.Random(seed)
    tallies: list[Tally] = []
    with Progress(console=common.stderr(), transient=True) as progress:
        task = progress.add_task("typing", total=len(chosen))
        async with editor_with_server(settings) as editor:
            for passage in chosen:
                editor.open(passage.file.text[: passage.start] + passage.file.text[passage.end :])
                if not tallies:
                    await editor.wait_until_ready()
                editor.cursor = passage.start
                tallies.append(await type_passage(editor, passage, gap_ms, rng))
                progress.advance(task)
    return tallies


async def type_passage(
    editor: ScriptedEditor, passage: Passage, gap_ms: int, rng: random.Random
) -> Tally:
    """Type the passage at the cursor; what is right is accepted as soon as it is shown."""
    left = passage.file.text[passage.start : passage.end].rstrip("\n")
    typed = "".join(line.lstrip() for line in left.splitlines(keepends=True))
    tally = Tally(passage.file.path, len(typed))
    answers, on_screen = Counter[str](), ""
    while left:
        key = _next_key(left)
        left = left[len(key) :]
        tally.keys += 1
        pause = rng.lognormvariate(0, _SPREAD) * gap_ms / 1000
        ghost = await editor.press(key, pause)
        if ghost is None:
            on_screen = ""
            continue
        if tally.shown:
            answers[ghost.why if ghost.text else "nothing"] += 1
        if not ghost.text:
            on_screen = ""
            continue
        if ghost.text != on_screen[len(key) :]:
            tally.shown += 1
            tally.milliseconds.append(ghost.milliseconds)
            tally.broke += _breaks(editor, ghost, passage.file.language)
        on_screen = ghost.text
        if left.startswith(ghost.text) and not ghost.replaced:
            editor.accept(ghost)
            tally.accepted += 1
            tally.keys += 1
            tally.accepted_characters += len("".join(map(str.strip, ghost.text.split("\n"))))
            left, on_screen = left[len(ghost.text) :], ""
    tally.answers = dict(answers)
    return tally


def _next_key(left: str) -> str:
    """Return what one key brings: a character, or a line end with the indentation after it."""
    size = 1
    if left[0] in "\n \t":
        blank = len(left) - len(left.lstrip("\n \t"))
        size = blank if "\n" in left[:blank] else 1
    return left[:size]


def _breaks(editor: ScriptedEditor, ghost: Ghost, language: str) -> bool:
    after = editor.text[editor.cursor + len(ghost.replaced) :]
    whole = editor.text[: editor.cursor] + ghost.text + after
    return errors(editor.text, language) == 0 and bool(errors(whole, language))


def _show(tallies: Sequence[Tally]) -> None:
    answers = Counter[str]()
    for one in tallies:
        answers.update(one.answers)
    characters, keys = sum(t.characters for t in tallies), sum(t.keys for t in tallies)
    shown, accepted = sum(t.shown for t in tallies), sum(t.accepted for t in tallies)
    times = sorted(ms for t in tallies for ms in t.milliseconds) or [0.0]
    known = sum(count for why, count in answers.items() if why in _WITHOUT_MODEL)
    suggested = known + answers[Source.MODEL]
    broke = sum(t.broke for t in tallies)
    table = Table(title=f"{len(tallies)} passages typed", title_justify="left", show_header=False)
    for name, value in (
        ("characters", f"{characters}"),
        ("keys pressed", f"{keys}"),
        ("keys saved", f"{1 - keys / max(1, characters):.1%}"),
        ("suggestions shown", f"{shown}"),
        ("accepted, being right to the end", f"{accepted} ({accepted / max(1, shown):.0%})"),
        ("broke a file that parsed", f"{broke} ({broke / max(1, shown):.1%})"),
        ("answers with a suggestion, model not asked", f"{known / max(1, suggested):.0%}"),
        ("time to a suggestion, p50", f"{percentile(times, 0.5):.0f} ms"),
        ("time to a suggestion, p95", f"{percentile(times, 0.95):.0f} ms"),
    ):
        table.add_row(name, value)
    Console(highlight=False).print(table)

"""The memory of a project: how fast it is built and searched, and how much it takes.

The text is that of the installed Python packages. A key press stores the text of a document with
50,000 lines. During the build, the event loop of the same process sleeps for 1 ms again and again;
the delay is how much later it wakes up. For a search, the processor time of its thread counts, so
other programs do not. A search finds all passages; the index alone finds 32 places.
"""

from __future__ import annotations

import asyncio
import json
import random
import sysconfig
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, machine
from fim.evaluation.report import percentile
from fim.memory.project_memory import ProjectMemory
from fim.memory.suffix_index import SuffixIndex

_MAX_FILE_CHARACTERS = 200_000
_LONG_DOCUMENT = "value = other_value + 1\n" * 50_000
_NUM_SEARCHES = 400
_NUM_PLACES = 32
_MILLION = 1_000_000


def installed_texts(num_characters: int) -> dict[str, str]:
    """Return installed source files with this many characters, in a random order."""
    files = sorted(Path(sysconfig.get_path("purelib")).rglob("*.py"))
    random.Random(1).shuffle(files)
    texts, free = {}, num_characters
    for file in files:
        text = file.read_text("utf-8", errors="replace")
        if free > 0 and len(text) <= _MAX_FILE_CHARACTERS:
            texts[str(file)] = text[:free]
            free -= len(texts[str(file)])
    return texts


async def _build(memory: ProjectMemory) -> tuple[float, list[float]]:
    """Return the seconds of a build, and the delays of the event loop in milliseconds."""
    delays: list[float] = []
    started = time.perf_counter()
    build = asyncio.create_task(asyncio.to_thread(memory.build))
    while not build.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        delays.append((time.perf_counter() - before) * 1000 - 1)
    await build
    return time.perf_counter() - started, delays


def _searches(memory: ProjectMemory, index: SuffixIndex, texts: Mapping[str, str]) -> list[float]:
    """Return four milliseconds: p50 and p95 of a search, and of the index alone."""
    rng, keys = random.Random(2), list(texts)
    all_passages, places = [], []
    for _ in range(_NUM_SEARCHES):
        key = rng.choice(keys)
        text = texts[key]
        cursor = rng.randrange(len(text) + 1)
        started = time.thread_time()
        memory.passages(key, text, cursor)
        all_passages.append((time.thread_time() - started) * 1000)
        started = time.thread_time()
        list(islice(index.hits(text[max(0, cursor - 512) : cursor]), _NUM_PLACES))
        places.append((time.thread_time() - started) * 1000)
    return [percentile(sorted(t), share) for t in (all_passages, places) for share in (0.5, 0.95)]


def _key_press_ms(memory: ProjectMemory) -> float:
    """Return the longest time in which the text of a long document is stored."""
    times = []
    for number in range(100):
        text = f"{_LONG_DOCUMENT}{number}"
        started = time.perf_counter()
        memory.put("long", text)
        times.append((time.perf_counter() - started) * 1000)
    return percentile(sorted(times), 0.95)


def _measure(millions: int) -> dict[str, float]:
    texts, memory = installed_texts(millions * _MILLION), ProjectMemory()
    for key, text in texts.items():
        memory.put(key, text)
    seconds, delays = asyncio.run(_build(memory))
    index = SuffixIndex(list(texts.values()))
    p50, p95, index_p50, index_p95 = _searches(memory, index, texts)
    return {
        "million characters": memory.num_characters / _MILLION,
        "million characters/s": memory.num_characters / _MILLION / seconds,
        "bytes per character": memory.num_memory_bytes / memory.num_characters,
        "loop delay p50, ms": percentile(sorted(delays), 0.5),
        "loop delay p99, ms": percentile(sorted(delays), 0.99),
        "search p50, ms": p50,
        "search p95, ms": p95,
        "index p50, ms": index_p50,
        "index p95, ms": index_p95,
        "key press p95, ms": _key_press_ms(memory),
    }


def main(
    millions: Annotated[
        list[int] | None, typer.Argument(help="Sizes in millions of characters.")
    ] = None,
    out: JsonOption = None,
) -> None:
    """Build and search a memory of each size, 1, 10 and 20 million characters by default."""
    rows = [_measure(size) for size in millions or (1, 10, 20)]
    table = Table("", *(f"{row['million characters']:.0f} million" for row in rows))
    for name in list(rows[0])[1:]:
        table.add_row(name, *(f"{row[name]:.3g}" for row in rows))
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps({"machine": machine(), "rows": rows}), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

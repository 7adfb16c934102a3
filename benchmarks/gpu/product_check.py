"""The product on this machine: the doctor's report and a completion with the demo model."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.gpu.results import record

_FILE = '''\
def mean(numbers):
    """Return the arithmetic mean."""
    total = 0
    for number in numbers:
        total += number
    return total /\x20
'''
_LINE, _COLUMN = 6, 20


def _run(*arguments: str) -> tuple[int, str]:
    process = subprocess.run(
        [sys.executable, "-m", "lsp_server", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr[-2000:]


def main(
    rehearse: Annotated[bool, typer.Option("--rehearse", help="On a CPU.")] = False,
) -> None:
    """Run `doctor` and `complete`; fail if one of them fails."""
    del rehearse
    statuses = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mean.py"
        file.write_text(_FILE, encoding="utf-8")
        for command in (
            ("doctor",),
            ("complete", f"{file}:{_LINE}:{_COLUMN}", "--model", "demo"),
        ):
            started = time.perf_counter()
            status, output = _run(*command)
            statuses.append(status)
            seconds = round(time.perf_counter() - started, 2)
            record("product", command=command[0], status=status, s=seconds, output=output[-1500:])
    raise typer.Exit(max(statuses))


if __name__ == "__main__":
    typer.run(main)

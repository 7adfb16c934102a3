"""Script: runs a command in a sandbox, and reports how it ended, even if it never does.

Usage: `python -I -S -B -c TEXT_OF_THIS_FILE`. stdin is a JSON object: `command`, `folder`,
`environment`, `seconds` for each variant, `reports` (files that the command writes), `copy`
(null, or a folder, where to copy it, and the names that are left out), `go_cache` (null, or Go's
build cache, and the folder where the command sees its contents and can write) and `variants`
(objects with texts by paths, which are written before the command runs and removed afterwards).
Variants after the first are run only if the first one's output matches `proof`.

stdout gets one JSON object per variant. It imports only the standard library.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Any

_MAX_OUTPUT = 1 << 18
_MAX_REPORT = 1 << 20
_MAX_LINKS = 100_000
_SHORTEST_LIMIT_S, _LIMIT_FACTOR = 1.0, 4.0
"""The time for further variants: a part of its own, and a multiple of the time of the fastest one
that has passed. The first one may have to build all libraries."""


def main() -> None:
    """Run all variants, one after the other."""
    job = json.load(sys.stdin)
    if job["copy"] is not None:
        _copy_project(*job["copy"])
    if job["go_cache"] is not None:
        _link_go_cache(*job["go_cache"])
    seconds = job["seconds"]
    for number, texts in enumerate(job["variants"]):
        before = {path: _read(path) for path in texts}
        for path, text in texts.items():
            _write(path, text)
        start = time.monotonic()
        ending = _run(job, seconds)
        _send(ending)
        if re.search(job["proof"], ending["output"], re.M):
            taken = time.monotonic() - start
            seconds = min(seconds, _SHORTEST_LIMIT_S + _LIMIT_FACTOR * taken)
        elif number == 0:
            break
        for path, text in before.items():
            _write(path, text)


def _run(job: dict[str, Any], seconds: float) -> dict[str, Any]:
    process = subprocess.Popen(
        job["command"],
        cwd=job["folder"],
        env={**job["environment"], "HOME": "/private", "TMPDIR": "/private"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    output = bytearray()
    reader = threading.Thread(target=_collect, args=(process.stdout, output), daemon=True)
    reader.start()
    timed_out = False
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        timed_out = True
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reader.join(1)  # a process of another group may keep the pipe open
    text = bytes(output).decode("utf-8", "replace")
    reports = [_take(path) for path in job["reports"]]
    return {
        "status": process.returncode,
        "timed_out": timed_out,
        "output": text,
        "reports": reports,
    }


def _collect(pipe: IO[bytes], output: bytearray) -> None:
    """Collect the last part of what is written to a pipe."""
    while block := os.read(pipe.fileno(), 1 << 16):
        output += block
        if len(output) > 2 * _MAX_OUTPUT:
            del output[:-_MAX_OUTPUT]


def _send(ending: dict[str, Any]) -> None:
    os.write(1, json.dumps(ending).encode() + b"\n")


def _take(path: str) -> str:
    """Return the text of a report, and remove it."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_REPORT).decode("utf-8", "replace")
        os.remove(path)
    except OSError:
        return ""
    return text


def _copy_project(source: str, target: str, skipped: list[str]) -> None:
    """Copy what can be read. Links stay links."""
    ignore = shutil.ignore_patterns(*skipped)
    with contextlib.suppress(shutil.Error):  # all that could be copied has been copied
        shutil.copytree(source, target, symlinks=True, ignore=ignore)


def _link_go_cache(source: str, target: str) -> None:
    """Make a cache that begins with links to the files of another one."""
    num_links = 0
    os.makedirs(target)
    # Go deletes what it has not used for days, unless it has looked for that less than a day ago.
    _write(os.path.join(target, "trim.txt"), str(int(time.time())))
    with contextlib.suppress(OSError):  # what cannot be read is compiled again
        for folder in sorted(os.scandir(source), key=lambda entry: entry.name):
            if not folder.is_dir():
                continue
            os.mkdir(os.path.join(target, folder.name))
            for entry in os.scandir(folder.path):
                if num_links < _MAX_LINKS:
                    os.symlink(entry.path, os.path.join(target, folder.name, entry.name))
                    num_links += 1


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except OSError:
        return None


def _write(path: str, text: str | None) -> None:
    if text is None:
        os.remove(path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)


if __name__ == "__main__":
    main()

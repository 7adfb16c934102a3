"""The results of a run: one JSON line per measurement, written as soon as it is known.

A run may be interrupted at any moment. So results are appended to one file, and never rewritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_VARIABLE = "STARCODER_GPU_RESULTS"
"""Environment variable with the path of the results file, for the processes of the steps."""


def record(name: str, **values: Any) -> None:
    """Append a measurement to the results file, and print it.

    Without a results file, it is only printed.
    """
    line = json.dumps({"name": name, **values})
    print(line, flush=True)
    if file := os.environ.get(FILE_VARIABLE):
        with Path(file).open("a", encoding="utf-8") as lines:
            # A step that was stopped may have left half a line.
            lines.write(("" if _ends_with_line_end(Path(file)) else "\n") + line + "\n")


def _ends_with_line_end(file: Path) -> bool:
    content = file.read_bytes() if file.exists() else b""
    return not content or content.endswith(b"\n")


def read_results(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the measurements of a results file. A last line that was cut off is skipped."""
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue

"""Quality of the task "write tests" with a model: number of usable tests, and of those that pass.

The model writes tests for eight small functions, with the product's own requests. A usable test
parses, calls the function and has an assertion. Only a run shows whether the assertion holds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from chat.asker import Asker
from chat.tasks.target import FileEdit, Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError
from engine.local import LocalEngine
from engine.settings import EngineSettings

FUNCTIONS = {
    "add": "def add(a, b):\n    return a + b\n",
    "is_even": "def is_even(n):\n    return n % 2 == 0\n",
    "slugify": "import re\n\n\ndef slugify(text):\n"
    "    return re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')\n",
    "clamp": "def clamp(value, low, high):\n    return max(low, min(value, high))\n",
    "flatten": "def flatten(items):\n    return [x for row in items for x in row]\n",
    "total": "import math\n\n\ndef total(prices, rate=0.0):\n"
    '    """Return the sum with tax, rounded up."""\n'
    "    return math.ceil(sum(prices) * (1 + rate))\n",
    "read_lines": "def read_lines(path):\n    with open(path) as f:\n"
    "        return f.read().splitlines()\n",
    "parse_bool": "def parse_bool(text):\n    return text.strip().lower() in ('1', 'yes')\n",
}


async def _write_test(engine: LocalEngine, code: str, root: Path) -> bool:
    """Write a test for the code, and return whether it is usable."""
    source = root / "mod.py"
    await asyncio.to_thread(source.write_text, code, encoding="utf-8")
    cursor = code.index("return")
    target = Target(source.as_uri(), source, "python", code, cursor, cursor)
    try:
        proposal = await write_tests(target, Asker(engine), WorkspaceFiles(root))
    except RequestError:
        return False
    for edit in proposal.edits:
        assert isinstance(edit, FileEdit)
        edit.path.parent.mkdir(exist_ok=True)
        edit.path.write_text(edit.text, encoding="utf-8")
    return True


def _tests_pass(root: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


async def _measure(model: str) -> tuple[int, int]:
    engine = LocalEngine(EngineSettings(model=model))
    usable = passing = 0
    for code in FUNCTIONS.values():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            if await _write_test(engine, code, root):
                usable += 1
                passing += await asyncio.to_thread(_tests_pass, root)
    await engine.aclose()
    return usable, passing


def main(
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
) -> None:
    """Count the functions that get a usable test, and the tests that pass."""
    usable, passing = asyncio.run(_measure(model))
    print(f"{model}: {usable} of {len(FUNCTIONS)} functions get a usable test, {passing} pass")


if __name__ == "__main__":
    typer.run(main)

"""The fixtures of pytest that a project defines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from chat.tasks.dialects.base import Snippet, with_line_feeds
from chat.tasks.target import WorkspaceFiles

_MAX_CHARACTERS = 600
_MAX_FIXTURES = 12


def find_fixtures(test_file: Path, files: WorkspaceFiles) -> tuple[Snippet, ...]:
    """Return the fixtures that tests in a file can use, the nearest first.

    They are in the file itself, and in each `conftest.py` of its folder and of those around it.
    Each text becomes a part of the prompt, so only files that may be shown are read.
    """
    folders = [folder for folder in test_file.parents if folder.is_relative_to(files.root)]
    paths = [test_file, *(folder / "conftest.py" for folder in folders)]
    fixtures: dict[str, Snippet] = {}
    for path in paths:
        text = files.read(path) if files.may_show(path) else None
        for fixture in _fixtures_in(with_line_feeds(text or "")):
            fixtures.setdefault(fixture.name, fixture)
    return tuple(fixtures.values())[:_MAX_FIXTURES]


def _fixtures_in(text: str) -> Iterator[Snippet]:
    """Yield the fixtures that a module defines at its top level."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = text.split("\n")
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if ast.unparse(called) in ("pytest.fixture", "fixture", "pytest_asyncio.fixture"):
                code = "\n".join(lines[decorator.lineno - 1 : node.end_lineno])
                yield Snippet(_name(decorator) or node.name, code[:_MAX_CHARACTERS])
                break


def _name(decorator: ast.expr) -> str:
    """Return the name that a decorator gives to its fixture, "" if it gives none."""
    for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return ""

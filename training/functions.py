"""Functions in Python source code, with their docstrings and tests."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

MAX_CODE, MAX_ANSWER = 1500, 1200
"""Maximum characters: longer texts do not fit in the context window of a small model."""

_MIN_SUMMARY = 15
"""Minimum characters of a summary."""

_SENTENCE = re.compile(r"(.+?[.!?])(\s|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DocumentedFunction:
    """A function with a docstring; its source starts without indentation."""

    name: str
    """Name of the function."""
    signature: str
    """Name and parameters."""
    docstring: str
    """Content of the docstring, without its indentation."""
    source: str
    """Source code with the docstring."""
    undocumented_source: str
    """Source code without the docstring."""

    @property
    def is_short(self) -> bool:
        """Whether both docstring and source are short enough to be an answer."""
        return len(self.source) <= MAX_CODE and len(self.docstring) <= MAX_ANSWER

    @property
    def summary(self) -> str:
        """First sentence of the docstring, on one line and with a full stop."""
        first = self.docstring.strip().split("\n\n")[0]
        sentence = _SENTENCE.match(first)
        return " ".join((sentence[1] if sentence else first).split()).rstrip(".") + "."


def documented_functions(text: str) -> Iterator[DocumentedFunction]:
    """Yield the documented functions of a Python file; nothing if it does not parse.

    Functions that are too long for a dialogue, even without the docstring, are skipped.
    """
    tree = parse_python(text)
    if tree is None:
        return
    lines = text.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (function := _function(node, lines)):
            yield function


def parse_python(text: str) -> ast.Module | None:
    """Return the syntax tree of a Python file; None if it does not parse."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _function(node: ast.FunctionDef, lines: list[str]) -> DocumentedFunction | None:
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2:
        return None
    first, last = node.body[0], node.end_lineno or node.lineno
    source = textwrap.dedent("".join(lines[node.lineno - 1 : last]))
    body = "".join([*lines[node.lineno - 1 : first.lineno - 1], *lines[first.end_lineno : last]])
    signature = f"{node.name}({ast.unparse(node.args)})"
    function = DocumentedFunction(node.name, signature, docstring, source, textwrap.dedent(body))
    fits = len(function.undocumented_source) <= MAX_CODE and docstring.isascii()
    return function if fits and len(function.summary) >= _MIN_SUMMARY else None


def parse_test_functions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names (without `test_`) and the sources of the short test functions of a file."""
    tree = parse_python(text)
    if tree is None:
        return
    lines = text.splitlines(keepends=True)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            source = "".join(lines[node.lineno - 1 : node.end_lineno])
            if len(source) <= MAX_ANSWER:
                yield node.name.removeprefix("test_"), source

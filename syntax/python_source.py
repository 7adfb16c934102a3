"""Python's own parser for code of any shape."""

from __future__ import annotations

import ast
import warnings

MAX_CHARACTERS = 100_000
"""Maximum characters of code for Python's parser, during which no other thread runs."""


def parse_python(code: str) -> ast.Module | None:
    """Return the syntax tree of Python code, None if Python cannot parse it.

    Python cannot parse code that is nested too deeply, even if it is correct.
    """
    if len(code) > MAX_CHARACTERS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in strings, on stderr
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

"""Literals of Python as a person writes them."""

from __future__ import annotations

import ast
import re

_SINGLE_QUOTED = re.compile(r"""'([^'"\\]*)'""")


def with_double_quotes(literal: str) -> str:
    """Return a literal with double quotes around its strings where that needs no escapes."""
    changed = _SINGLE_QUOTED.sub(r'"\1"', literal)
    try:
        # The pattern can match inside of another string.
        is_same = repr(ast.literal_eval(changed)) == repr(ast.literal_eval(literal))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return literal
    return changed if is_same else literal

"""Literals of Python as a person writes them."""

from __future__ import annotations

import ast
import re

_SINGLE_QUOTED = re.compile(r"""'((?:[^'"\\]|\\[^'"])*)'""")


def with_double_quotes(code: str) -> str:
    """Return an expression with double quotes around its strings where that needs no escapes."""
    changed = _SINGLE_QUOTED.sub(r'"\1"', code)
    try:
        # The pattern can match inside of another string.
        is_same = ast.dump(ast.parse(changed)) == ast.dump(ast.parse(code))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return code
    return changed if is_same else code

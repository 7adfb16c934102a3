"""How often, and in which time zones, tests are run elsewhere; see `python.elsewhere`."""

from __future__ import annotations

import ast
import re
from itertools import cycle, islice

_ZONES = ("ABC-11:17", "XYZ08:43")
"""Time zones that nobody has, with fixed offsets, so that no file must describe them."""
_NUM_RUNS, _NUM_IF_RANDOM = 2, 8
"""Two elements of a set are in the same order for half of all hash seeds."""
_RANDOM = re.compile(r"\b(?:set|frozenset|hash|id|random\w*|secrets|uuid\w*|Random|shuffle)\b")


def zones(text: str) -> list[str]:
    """Return the time zone of each run of the tests of a file."""
    return list(islice(cycle(_ZONES), _NUM_IF_RANDOM if _may_be_random(text) else _NUM_RUNS))


def _may_be_random(text: str) -> bool:
    """Whether code names what a random seed changes, such as the order of a set."""
    if _RANDOM.search(text):
        return True
    try:
        return any(isinstance(node, ast.Set | ast.SetComp) for node in ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True

"""A suggestion replaces exactly the closing brackets that would be superfluous after it."""

import pytest

from fim.postprocess.closing_brackets import doubled_closing
from fim.snapshot import Snapshot


def num_replaced(document: str, text: str) -> int:
    """Return how many characters `text` replaces right of the bar in `document`."""
    cursor = document.index("|")
    snapshot = Snapshot("u", "python", document[:cursor] + document[cursor + 1 :], cursor)
    return doubled_closing(text, snapshot)


@pytest.mark.parametrize(
    ("document", "text", "expected"),
    [
        ("f(|)\n", "a)", 1),
        ("f(g(|))\n", "a)", 1),
        ("f(g(|)\n", "a)", 0),  # the bracket right of the cursor closes the outer call
        ("f(g(|)\n", "a))", 1),
        ("f(\n    g(|)\n)\n", "a)", 1),
        ("f(\n    g(|\n)\n", "a)", 0),
        ("f(|)\n", "a", 0),
        ("f(|]\n", "a)", 0),  # another kind of bracket
    ],
)
def test_only_superfluous_brackets_are_replaced(document: str, text: str, expected: int) -> None:
    assert num_replaced(document, text) == expected

"""Text that is moved to another place gets the indentation of that place."""

import pytest

from fim.postprocess.indentation import reindented


@pytest.mark.parametrize(
    ("text", "old", "new", "unit", "expected"),
    [
        ("a\n    b\nc", "", "    ", "    ", "a\n        b\n    c"),
        ("a\n        b\n    c", "    ", "", "    ", "a\n    b\nc"),
        # A line to the left of the first one keeps its distance, if there is room.
        ("a\n)", "    ", "        ", "    ", "a\n    )"),
        ("a\n)\nb", "    ", "", "    ", "a"),
        # Tabs and spaces.
        ("a\n  b\n    c", "", "\t", "\t", "a\n\t\tb\n\t\t\tc"),
        ("a\n\tb\n\t\tc", "", "  ", "  ", "a\n    b\n      c"),
        ("a\n    b\n      c", "", "", "\t", "a\n\tb\n\t  c"),
        ("a\n)", "    ", "\t", "\t", "a"),
        ("a\n\tb", "    ", "    ", "    ", "a"),
        ("a\n\t)", "\t\t", "        ", "    ", "a"),
        # Empty lines have no indentation.
        ("a\n   \n    b", "    ", "", "    ", "a\n\nb"),
        ("a", "    ", "", "    ", "a"),
    ],
)
def test_lines_after_the_first_are_moved_with_it(
    text: str, old: str, new: str, unit: str, expected: str
) -> None:
    assert reindented(text, old, new, unit) == expected

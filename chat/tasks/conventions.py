"""Test conventions: which test framework a project uses, and where its test files are.

Each module in `chat.tasks.dialects` reads the convention of its language from the project's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chat.tasks.dialects.base import Dialect, Framework
from chat.tasks.target import WorkspaceFiles

_MAX_EXAMPLE_CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class Convention:
    """The framework, the file and an example for the tests of one source file."""

    framework: Framework
    test_file: Path
    """The file for new tests. In Rust it is often the source file itself."""
    dialect: Dialect
    """The rules by which the tests are written."""
    example: str = ""
    """The text of an existing test file of the same framework, empty if there is none."""
    note: str = ""
    """A sentence for the user about the test file."""
    fixtures: str = ""
    """The code of the project's fixtures that the tests may use, empty if there are none."""


def sort_by_distance(tests: Iterable[Path], source: Path) -> list[Path]:
    """Return test files sorted by their distance from a source file, the nearest first.

    Files that contain the name of the source file come before all others at the same distance.
    """

    def distance(test: Path) -> tuple[int, bool, str]:
        source_parts, test_parts = source.parent.parts, test.parent.parts
        num_common = 0
        for source_part, test_part in zip(source_parts, test_parts, strict=False):
            if source_part != test_part:
                break
            num_common += 1
        has_name = source.stem in test.stem
        num_steps = len(source_parts) + len(test_parts) - 2 * num_common
        return (num_steps, not has_name, str(test))

    return sorted(tests, key=distance)


def find_example(
    tests: Iterable[Path], source: Path, files: WorkspaceFiles, required_text: str = ""
) -> str:
    """Return the text of the nearest test file that contains `required_text`, or empty text.

    The text becomes a part of the prompt, so the file must be one that may be shown.
    """
    for test in sort_by_distance(tests, source)[:_MAX_EXAMPLE_CANDIDATES]:
        text = files.read(test) if files.may_show(test) else None
        if text and text.strip() and required_text in text:
            return text
    return ""

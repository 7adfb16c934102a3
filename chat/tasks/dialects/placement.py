"""Rules of where tests are: learned from the tests of a project, applied to another source file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath


@dataclass(frozen=True, slots=True)
class Pair:
    """A source file and its test file."""

    source: Path
    test: Path
    source_project: Path
    test_project: Path
    """The root folders of their projects. They differ if tests are outside of a nested project."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that leads from the folder of a source file to the folder of its tests.

    If two rules are followed by equally many tests, the one with the higher priority is used.
    """

    priority: int
    folder: PurePath
    """Relative to the source file's folder (priority 4) or to the project."""
    num_skipped: int | None = None
    """Number of outer folders of the source file that are not mirrored; None without mirroring."""

    def apply(self, source: Path, project: Path) -> Path:
        """Return the folder for the tests of a source file."""
        if self.priority == _NEXT_TO_SOURCE:
            return source.parent / self.folder
        parts: tuple[str, ...] = ()
        if self.num_skipped is not None and source.is_relative_to(project):
            parts = source.parent.relative_to(project).parts[self.num_skipped :]
        return project.joinpath(self.folder, *parts)


_NEXT_TO_SOURCE, _MIRRORED, _ONE_FOLDER, _MAYBE_MIRRORED = 4, 3, 2, 1
_MAX_INNER_FOLDERS = 2
"""Depth of a test folder inside the source file's folder, such as `test/unit`."""


def folders_like(pairs: Iterable[Pair], source: Path, project: Path) -> list[Path]:
    """Return the folders for the tests of a source file, by the rules that most pairs follow."""
    votes: Counter[tuple[Rule, Path]] = Counter()
    for pair in pairs:
        is_own = pair.source_project == project
        for rule in _rules_of(pair, pair.test_project):
            votes[rule, pair.test_project if is_own else project] += 1
    best = sorted(votes, key=lambda vote: (-votes[vote], -vote[0].priority))
    return list(dict.fromkeys(rule.apply(source, base) for rule, base in best))


def _rules_of(pair: Pair, base: Path) -> Iterator[Rule]:
    """Yield the rules that a pair follows."""
    folder, test_folder = pair.source.parent, pair.test.parent
    if not (folder.is_relative_to(base) and test_folder.is_relative_to(base)):
        return
    if test_folder.is_relative_to(folder):
        inner = test_folder.relative_to(folder)
        is_next_to = folder != base or not inner.parts
        if is_next_to and len(inner.parts) <= _MAX_INNER_FOLDERS:
            yield Rule(_NEXT_TO_SOURCE, inner)
    relative = test_folder.relative_to(base)
    yield Rule(_ONE_FOLDER, relative)
    parts, test_parts = folder.relative_to(base).parts, relative.parts
    for num_mirrored in range(min(len(parts), len(test_parts)) + 1):
        num_skipped, num_outer = len(parts) - num_mirrored, len(test_parts) - num_mirrored
        if parts[num_skipped:] != test_parts[num_outer:]:
            break
        priority = _MIRRORED if num_mirrored else _MAYBE_MIRRORED
        yield Rule(priority, PurePath(*test_parts[:num_outer]), num_skipped)


def folders_like_unpaired(
    tests: Iterable[tuple[Path, Path]], source: Path, project: Path, names: frozenset[str]
) -> list[Path]:
    """Return the folders for the tests of a source file, by tests of unknown source files.

    Each test comes with the root folder of its project. `names` are the names of test folders.
    """
    votes: Counter[Path] = Counter()
    for test, base in tests:
        if not test.is_relative_to(base):
            continue
        parts = test.parent.relative_to(base).parts
        if parts and parts[0] in names:
            num_outer = next((i for i, part in enumerate(parts) if part not in names), len(parts))
            votes[project.joinpath(*parts[:num_outer])] += 1
        elif parts and parts[-1] in names:
            votes[source.parent / parts[-1]] += 1
        else:
            votes[source.parent] += 1
    return [folder for folder, _ in votes.most_common()]

"""Which source file a test file tests, and where a project keeps its tests.

A test file belongs to the source file that it imports. The names and folders of both decide only if
the imports do not: many source files are named `models.py` or `index.ts`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chat.tasks.conventions import sort_by_distance
from chat.tasks.dialects.placement import Pair, folders_like, folders_like_unpaired
from chat.tasks.target import WorkspaceFiles

TEST_FOLDERS = frozenset({"__tests__", "spec", "specs", "test", "tests", "unit"})
"""Names of folders that contain tests and say nothing about the tested source files."""
_FOLDERS_OF_HELPERS = frozenset({"__tests__", "test", "tests"})
"""Names of folders whose files are tests or helpers of tests."""
_OTHER_KINDS = frozenset(
    {"acceptance", "benchmarks", "e2e", "functional", "integration", "performance", "smoke"}
)
"""Names of folders with tests that are no unit tests."""
_MAX_READ_TESTS = 200


@dataclass(frozen=True, slots=True)
class Imported:
    """What a test file imports."""

    files: frozenset[Path] = frozenset()
    """The source files of the workspace that it imports by their own name."""
    packages: frozenset[Path] = frozenset()
    """The folders of packages that it imports as a whole."""
    stems: frozenset[str] = frozenset()
    """The last parts of the names of all modules that it imports."""


class Layout(ABC):
    """The source files and test files of one language in a workspace."""

    project_files: frozenset[str]
    """Names of files in the root folder of a project."""

    def __init__(self, source: Path, files: WorkspaceFiles) -> None:
        self.source = source
        self.files = files
        self.project = self.project_of(source)
        self._imported: dict[Path, Imported] = {}

    @abstractmethod
    def is_test(self, path: Path) -> bool:
        """Whether the name and folder of a file are those of a test."""

    @abstractmethod
    def is_source(self, path: Path) -> bool:
        """Whether a file that is no test is a source file of this language."""

    @abstractmethod
    def tested_stems(self, test: Path) -> tuple[str, ...]:
        """Return the names that the source file of a test may have, without suffix."""

    @abstractmethod
    def stems_of(self, source: Path) -> tuple[str, ...]:
        """Return the names that test files may use for a source file, the best one first."""

    @abstractmethod
    def read_imports(self, test: Path) -> Imported:
        """Return what a test file imports."""

    @cached_property
    def known_files(self) -> frozenset[Path]:
        """All files of the workspace, and the source file."""
        return frozenset((*self.files.paths(), self.source))

    @cached_property
    def _project_roots(self) -> frozenset[Path]:
        return frozenset(
            path.parent
            for path in self.files.paths()
            if path.name in self.project_files and path.parent.name not in TEST_FOLDERS
        )

    def project_of(self, path: Path) -> Path:
        """Return the root folder of the project that contains a file."""
        for folder in path.parents:
            if folder in self._project_roots or folder == self.files.root:
                return folder
        return self.files.root

    @cached_property
    def tests(self) -> list[Path]:
        """All test files of the workspace, the nearest first."""
        paths = (path for path in self.files.paths() if path != self.source)
        tests = (path for path in paths if self.is_test(path))
        return sort_by_distance(tests, self.source)

    @cached_property
    def _sources_by_stem(self) -> dict[str, list[Path]]:
        sources: dict[str, list[Path]] = {}
        others = [path for path in self.files.paths() if path != self.source]
        for path in [self.source, *others]:
            is_code = self.is_source(path) and not self.is_test(path)
            if path == self.source or (is_code and not self.is_helper(path)):
                for stem in self.stems_of(path):
                    sources.setdefault(stem, []).append(path)
        return sources

    def parts_of(self, path: Path) -> tuple[str, ...]:
        """Return the folders from the workspace folder to a file."""
        root = self.files.root
        return path.parent.relative_to(root).parts if path.is_relative_to(root) else ()

    def is_helper(self, path: Path) -> bool:
        """Whether a file is in a folder of tests, so that it helps tests if it is none."""
        return bool(_FOLDERS_OF_HELPERS & {*self.parts_of(path)})

    def sources_named(self, stem: str) -> list[Path]:
        """Return the source files that tests may call by this name."""
        return self._sources_by_stem.get(stem, [])

    def imported_by(self, test: Path) -> Imported:
        """Return what a test file imports, read at most once."""
        if test not in self._imported:
            self._imported[test] = self.read_imports(test)
        return self._imported[test]

    def own_tests(self) -> list[Path]:
        """Return the existing test files of the source file, unit tests first."""
        stems = self.stems_of(self.source)
        tests = [
            test
            for test in self.tests
            if set(stems) & set(self.tested_stems(test)) and self.tested_source(test) == self.source
        ]

        def rank(test: Path) -> tuple[bool, int]:
            best = min(stems.index(stem) for stem in self.tested_stems(test) if stem in stems)
            return (self.is_other_kind(test), best)

        return sorted(tests, key=rank)

    def is_other_kind(self, test: Path) -> bool:
        """Whether a test is an integration test or another test that is no unit test."""
        return bool(_OTHER_KINDS & {*self.parts_of(test)})

    def test_folders(self, *, own: bool) -> list[Path]:
        """Return folders for the tests of the source file, as existing tests suggest.

        `own` selects the tests of the source file's project or those of all other projects. Tests
        whose source file is known come before the others.
        """
        if self.is_helper(self.source):
            return [self.source.parent]
        tests = [test for test in self.tests if self._covers(test) == own]
        tests = [test for test in tests if not self.is_other_kind(test)] or tests
        pairs, unpaired = [], []
        for test in tests[:_MAX_READ_TESTS]:
            source, project = self.tested_source(test), self.project_of(test)
            if source is None:
                unpaired.append((test, project))
            elif self.project_of(source) == self.project or not own:
                pairs.append(Pair(source, test, self.project_of(source), project))
        folders = folders_like(pairs, self.source, self.project)
        if own:
            unpaired = [(test, project) for test, project in unpaired if project == self.project]
        return [
            *folders,
            *folders_like_unpaired(unpaired, self.source, self.project, TEST_FOLDERS),
        ]

    def _covers(self, test: Path) -> bool:
        """Whether the project of a test contains the source file."""
        return self.project.is_relative_to(self.project_of(test))

    def tested_source(self, test: Path) -> Path | None:
        """Return the source file that a test file tests, None if it is not known."""
        project = self.project_of(test)
        named = [
            source
            for stem in self.tested_stems(test)
            for source in self.sources_named(stem)
            if self.project_of(source).is_relative_to(project)
        ]
        if not named:
            return None
        imported = self.imported_by(test)
        exact = [source for source in named if source in imported.files]
        if exact:
            return self._nearest(exact, test)
        if imported.stems & set(self.tested_stems(test)):
            return None  # it tests a module of this name, but none of these
        inside = [source for source in named if imported.packages & {*source.parents}]
        return self._nearest([s for s in inside or named if self._may_belong(s, test)], test)

    def _may_belong(self, source: Path, test: Path) -> bool:
        """Whether the folders of a test, without those for tests, are folders of the source."""
        folders = iter(self.parts_of(source))
        return all(folder in folders for folder in self._home(test))

    def _home(self, test: Path) -> tuple[str, ...]:
        ignored = TEST_FOLDERS | _OTHER_KINDS
        return tuple(folder for folder in self.parts_of(test) if folder not in ignored)

    def _nearest(self, sources: Iterable[Path], test: Path) -> Path | None:
        """Return the source whose folders agree best with those of a test, None if two do."""

        def rank(source: Path) -> tuple[int, int]:
            pairs = zip(reversed(self.parts_of(source)), reversed(self._home(test)), strict=False)
            num_common = 0
            for source_folder, test_folder in pairs:
                if source_folder != test_folder:
                    break
                num_common += 1
            return (-num_common, len(source.parts))

        ranked = sorted(set(sources), key=rank)
        is_unique = len(ranked) == 1 or (ranked and rank(ranked[0]) < rank(ranked[1]))
        return ranked[0] if is_unique else None

    def is_free(self, path: Path) -> bool:
        """Whether tests of the source file can be in this file: it is new, or has no others."""
        return not exists(path, self.files) or self.tested_source(path) == self.source


def exists(path: Path, files: WorkspaceFiles) -> bool:
    """Whether a file exists, on disk or in the editor."""
    return os.path.lexists(path) or files.read_open_file(path) is not None

"""Test conventions of Python projects: pytest or unittest, and where test files are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath

from chat.tasks.conventions import Convention, Framework, find_example, sort_by_distance
from chat.tasks.target import WorkspaceFiles

_PYTEST_CONFIGURATION = (
    ("pytest.ini", ""),
    ("conftest.py", ""),
    ("tests/conftest.py", ""),
    ("test/conftest.py", ""),
    ("pyproject.toml", "pytest"),
    ("setup.cfg", "pytest"),
    ("tox.ini", "pytest"),
    ("requirements-dev.txt", "pytest"),
    ("requirements.txt", "pytest"),
)
"""File names in the project's root, and the text that shows that the project uses pytest."""

_UNITTEST_CONFIGURATION = ("Makefile", "tox.ini", "pyproject.toml", "README.md", "README.rst")
"""Files in the project's root that name `unittest` if the project uses it."""


def python_convention(source: Path, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Python file are written in its project."""
    tests = [path for path in files.paths() if is_python_test(path)]
    framework: Framework = "pytest" if _uses_pytest(tests, source, files) else "unittest"
    existing = [path for path in tests if _tested_stem(path) == source.stem]
    if existing:
        test_file = sort_by_distance(existing, source)[0]
    else:
        test_file = _new_test_file(source, tests, files)
    required_text = "import unittest" if framework == "unittest" else "def test"
    return Convention(framework, test_file, find_example(tests, source, files, required_text))


def is_python_test(path: PurePath) -> bool:
    """Whether pytest collects a file of this name."""
    return path.suffix == ".py" and (path.stem.startswith("test_") or path.stem.endswith("_test"))


def _uses_pytest(tests: list[Path], source: Path, files: WorkspaceFiles) -> bool:
    """Whether the nearest tests use pytest, else the configuration. The default is pytest."""
    for test in sort_by_distance(tests, source)[:10]:
        text = files.read(test) or ""
        if re.search(r"^(import|from) pytest\b|^(async )?def test", text, re.MULTILINE):
            return True
        if "unittest" in text and "TestCase" in text:
            return False
    for name, required_text in _PYTEST_CONFIGURATION:
        configuration = files.read(files.root / name)
        if configuration is not None and required_text in configuration:
            return True
    texts = (files.read(files.root / name) or "" for name in _UNITTEST_CONFIGURATION)
    return not any("unittest" in text for text in texts)


def _tested_stem(test: Path) -> str:
    """Return the name of the module that a test file tests, by the name of the test file."""
    stem = test.stem
    return stem.removeprefix("test_") if stem.startswith("test_") else stem.removesuffix("_test")


def _new_test_file(source: Path, tests: list[Path], files: WorkspaceFiles) -> Path:
    """Return the path of a new test file, by the placement rule that most tests follow."""
    uses_suffix = sum(path.stem.endswith("_test") for path in tests) > len(tests) / 2
    name = f"{source.stem}_test.py" if uses_suffix else f"test_{source.stem}.py"
    votes = _count_votes(tests, files)
    if votes and votes.most_common(1)[0][1]:
        best = max(_FOLDER_RULES, key=lambda rule: votes[rule])
        return _FOLDER_RULES[best](source, files.root) / name
    if tests:
        return sort_by_distance(tests, source)[0].parent / name
    return _tests_folder(files.root) / name


def _count_votes(tests: list[Path], files: WorkspaceFiles) -> Counter[str]:
    """Return for each placement rule how many of the tests follow it."""
    sources_by_stem: dict[str, list[Path]] = {}
    for path in files.paths():
        if path.suffix == ".py" and not is_python_test(path):
            sources_by_stem.setdefault(path.stem, []).append(path)
    votes: Counter[str] = Counter()
    for test in tests:
        for source in sources_by_stem.get(_tested_stem(test), []):
            for name, folder_for in _FOLDER_RULES.items():
                votes[name] += folder_for(source, files.root) == test.parent
    return votes


def _tests_folder(root: Path) -> Path:
    return root / "test" if (root / "test").is_dir() else root / "tests"


def _mirrored(source: Path, root: Path, num_skipped: int = 0) -> Path:
    """Return the folder below `tests` that mirrors the folders of a source file."""
    parts = source.parent.relative_to(root).parts if source.is_relative_to(root) else ()
    return _tests_folder(root).joinpath(*parts[num_skipped:])


_FOLDER_RULES: dict[str, Callable[[Path, Path], Path]] = {
    "tests": lambda _, root: _tests_folder(root),
    "tests/src/package/inner": _mirrored,
    "tests/package/inner": lambda source, root: _mirrored(source, root, num_skipped=1),
    "tests/inner": lambda source, root: _mirrored(source, root, num_skipped=2),
    "next to the source file": lambda source, _: source.parent,
    "in tests next to the source file": lambda source, _: source.parent / "tests",
}
"""Placement rules: from a source file and the workspace folder to the folder of its tests.

The names show where the tests of `src/package/inner/module.py` are. If two rules are equally
frequent, the first one wins.
"""

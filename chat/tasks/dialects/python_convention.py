"""Test conventions of Python projects: pytest or unittest, and where test files are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from chat.tasks.conventions import Convention, find_example
from chat.tasks.dialects.base import Dialect, Framework, Subject
from chat.tasks.dialects.python import Pytest, Unittest
from chat.tasks.dialects.python_fixtures import find_fixtures
from chat.tasks.dialects.python_layout import PythonLayout
from chat.tasks.dialects.python_names import module_name
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError

_TEST_CODE = re.compile(r"^[ \t]*(?:async )?def test|\bTestCase\b", re.M)
"""What a test file has, and what a module with a name such as `ab_test.py` has not."""
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

_UNITTEST_CONFIGURATION = (
    ("Makefile", "unittest"),
    ("tox.ini", "unittest"),
    ("pyproject.toml", "unittest"),
    ("README.md", "unittest"),
    ("README.rst", "unittest"),
    ("manage.py", "django"),
)
"""Files in the project's root, and the text that shows that the project uses unittest."""


def python_convention(subject: Subject, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Python file are written in its project.

    Raises RequestError if the file is a test or cannot be imported, or if the function would be
    taken for a test.
    """
    source = subject.path
    layout = PythonLayout(source, files)
    is_test = layout.is_test(source) and (
        layout.is_helper(source) or _TEST_CODE.search(subject.text) is not None
    )
    if source.name == "conftest.py" or is_test:
        raise RequestError(
            f"{source.name} belongs to the tests. Put the cursor into the code that they test."
        )
    module = module_name(source, layout.project, _import_root(layout))
    own_tests = [*layout.own_tests(), *_tests_of_folder(source, layout)]
    test_file = own_tests[0] if own_tests else next(_new_test_files(layout))
    tests = list(dict.fromkeys([*own_tests, *layout.tests]))
    framework: Framework = "pytest" if _uses_pytest(tests, layout) else "unittest"
    if subject.framework in ("pytest", "unittest"):
        framework = subject.framework
    if framework == "pytest" and not subject.class_name:
        _check_name(subject.symbol.name)
    required_text = "def test" if framework == "pytest" else "TestCase"
    fixtures = find_fixtures(test_file, files) if framework == "pytest" else ()
    names = frozenset(fixture.name for fixture in fixtures)
    dialect: Dialect = Pytest(module, names) if framework == "pytest" else Unittest(module)
    example = find_example(tests, source, files, required_text)
    note = ""
    if not own_tests:
        note = _note(test_file, layout) if framework == "pytest" else _discovery(test_file, layout)
    code = "\n\n".join(fixture.text for fixture in fixtures)
    return Convention(framework, test_file, dialect, example, note, code)


def _check_name(name: str) -> None:
    """Raise RequestError if pytest takes a function for a test in each file that imports it."""
    if name.startswith("test"):
        raise RequestError(
            f"pytest takes {name} for a test in each test file that imports it. Rename it, or give "
            "it the attribute `__test__ = False` and write the tests yourself."
        )


def _import_root(layout: PythonLayout) -> Path | None:
    """Return the folder from which tests import the source file, None if no test shows it."""
    if not layout.is_helper(layout.source):
        return layout.import_root()
    folder = layout.source.parent
    return None if (folder / "__init__.py").exists() else folder


def _tests_of_folder(source: Path, layout: PythonLayout) -> list[Path]:
    """Return `tests.py` of a Django app, which has the tests of all modules of its folder."""
    tests = source.with_name("tests.py")
    return [tests] if tests in layout.tests else []


def _uses_pytest(tests: list[Path], layout: PythonLayout) -> bool:
    """Whether the nearest tests use pytest, else the configuration. The default is pytest."""
    for test in tests[:10]:
        text = layout.files.read(test) or ""
        if re.search(r"^(import|from) pytest\b|^(async )?def test", text, re.MULTILINE):
            return True
        if re.search(r"\bunittest\b|\bdjango\.test\b", text) and "TestCase" in text:
            return False
    for root in dict.fromkeys([layout.project, layout.files.root]):
        if layout.pytest.is_configured or _has_text(root, _PYTEST_CONFIGURATION, layout.files):
            return True
        if _has_text(root, _UNITTEST_CONFIGURATION, layout.files):
            return False
    return True


def _has_text(
    root: Path, configuration: tuple[tuple[str, str], ...], files: WorkspaceFiles
) -> bool:
    texts = ((files.read(root / name), required) for name, required in configuration)
    return any(text is not None and required in text for text, required in texts)


def _new_test_files(layout: PythonLayout) -> Iterator[Path]:
    """Yield paths of new test files, the best first, without files of other tests."""
    folders = _allowed(layout, _folders(layout))
    names = _names(layout)
    if _has_one_file_per_folder(layout):
        yield layout.source.with_name("tests.py")
    for folder in folders:
        for name in names:
            if layout.is_free(folder / name):
                yield folder / name
    number = 2
    while True:
        name = names[0].replace(".py", f"_{number}.py")
        if layout.is_free(folders[0] / name):
            yield folders[0] / name
        number += 1


def _has_one_file_per_folder(layout: PythonLayout) -> bool:
    """Whether the tests of a new Django app belong into its `tests.py`."""
    num_such_files = sum(test.name == "tests.py" for test in layout.tests)
    has_folder = (layout.source.parent / "tests").exists()
    return num_such_files > len(layout.tests) / 2 and not has_folder


def _folders(layout: PythonLayout) -> Iterator[Path]:
    """Yield folders for a new test file: as existing tests suggest, else as configured."""
    project, source = layout.project, layout.source
    yield from layout.test_folders(own=True)
    for folder in layout.pytest.folders:
        if not re.search(r"[*?\[]", folder):
            root = project / folder
            yield source.parent if source.is_relative_to(root) else root
    yield from (project / name for name in ("tests", "test") if (project / name).is_dir())
    yield from layout.test_folders(own=False)
    yield project / "tests"


def _allowed(layout: PythonLayout, folders: Iterator[Path]) -> list[Path]:
    """Return the folders without those in which pytest does not search, if any is left."""
    unique = list(dict.fromkeys(folders))
    patterns = [str(layout.project / folder) for folder in layout.pytest.folders]

    def is_searched(folder: Path) -> bool:
        return any(
            fnmatchcase(str(outer), pattern)
            for outer in (folder, *folder.parents)
            for pattern in patterns
        )

    return [folder for folder in unique if is_searched(folder)] or unique


def _names(layout: PythonLayout) -> list[str]:
    """Return names for a new test file that pytest collects, the usual one first."""
    tests = [test for test in layout.tests if test.stem != "tests"]
    uses_suffix = sum(test.stem.endswith("_test") for test in tests) > len(tests) / 2
    stems = layout.stems_of(layout.source)
    names = [f"{stem}_test.py" if uses_suffix else f"test_{stem}.py" for stem in stems]
    names += [pattern.replace("*", stem, 1) for stem in stems for pattern in layout.pytest.names]
    collected = [name for name in names if layout.has_configured_name(name)]
    plain = (name for name in collected or names if not re.search(r"[*?\[]", name))
    return list(dict.fromkeys(plain)) or [f"test_{layout.source.stem}.py"]


def _discovery(test_file: Path, layout: PythonLayout) -> str:
    """Return what the user must know about a new file that `python -m unittest` does not find."""
    inner = [folder for folder in test_file.parents if folder.is_relative_to(layout.project)][:-1]
    without = [folder for folder in inner if not (folder / "__init__.py").exists()]
    if not without:
        return ""
    top = without[-1].relative_to(layout.project).as_posix()
    return (
        f"`python -m unittest` finds this file only with `discover -s {top}`, or if {top} has an "
        "__init__.py."
    )


def _note(test_file: Path, layout: PythonLayout) -> str:
    """Return what the user must know about a test file of the same name in another folder."""
    others = [
        test
        for test in layout.tests
        if test.name == test_file.name
        and layout.project_of(test) == layout.project
        and not (test.parent / "__init__.py").exists()
    ]
    if not others or layout.pytest.uses_importlib or (test_file.parent / "__init__.py").exists():
        return ""
    return (
        f"pytest cannot collect two files named {test_file.name} in folders without __init__.py. "
        f"Add an empty __init__.py next to {test_file.name}."
    )

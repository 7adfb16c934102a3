"""Where a project keeps its tests, and by which framework: read from its files."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError
from syntax.grammars import grammar_name

Framework = Literal[
    "pytest", "unittest", "jest", "vitest", "node", "go", "cargo", "junit5", "junit4"
]

_JS_SUFFIXES = (".js", ".jsx", ".ts", ".tsx", ".mjs", ".cjs", ".mts", ".cts")


@dataclass(frozen=True, slots=True)
class Convention:
    """How a file's tests are written."""

    framework: Framework
    file: Path
    """Where they belong; the source file itself where tests stand beside the code (Rust)."""
    example: str = ""
    """An existing test file of the same framework, empty where there is none."""


def convention(source: Path, language: str, files: WorkspaceFiles) -> Convention:
    """Return how tests for a source file are written in its project.

    Raises RequestError for a language whose frameworks are not known here.
    """
    found = _BY_GRAMMAR.get(grammar_name(language) or "")
    if found is None:
        known = "Python, JavaScript, TypeScript, Go, Rust and Java"
        raise RequestError(f"Writing tests is known for {known}, not for {language or 'this'}.")
    return found(source, files)


def nearest(tests: Iterable[Path], source: Path) -> list[Path]:
    """Return test files, the nearest to a source file first."""

    def distance(test: Path) -> tuple[int, int, str]:
        ours, theirs = source.parent.parts, test.parent.parts
        shared = 0
        while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
            shared += 1
        same = source.stem in test.stem
        return (not same, len(ours) + len(theirs) - 2 * shared, str(test))

    return sorted(tests, key=distance)


def _example(tests: Iterable[Path], source: Path, files: WorkspaceFiles, mark: str = "") -> str:
    for test in nearest(tests, source)[:20]:
        text = files.read(test)
        if text and text.strip() and mark in text:
            return text
    return ""


# Python.


def is_python_test(path: PurePath) -> bool:
    """Whether pytest and unittest collect a file of this name."""
    return path.suffix == ".py" and (path.stem.startswith("test_") or path.stem.endswith("_test"))


def _python(source: Path, files: WorkspaceFiles) -> Convention:
    tests = [one for one in files.all() if is_python_test(one)]
    framework: Framework = "pytest" if _uses_pytest(tests, source, files) else "unittest"
    existing = [one for one in tests if _stem_of_test(one) == source.stem]
    file = nearest(existing, source)[0] if existing else _python_place(source, tests, files)
    mark = "import unittest" if framework == "unittest" else "def test"
    return Convention(framework, file, _example(tests, source, files, mark))


_PYTEST_MARKS = (
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


def _uses_pytest(tests: list[Path], source: Path, files: WorkspaceFiles) -> bool:
    """Ask the tests that are there; then the configuration; without either, pytest."""
    for test in nearest(tests, source)[:10]:
        text = files.read(test) or ""
        if re.search(r"^(import|from) pytest\b|^(async )?def test", text, re.MULTILINE):
            return True
        if "unittest" in text and "TestCase" in text:
            return False
    for name, mark in _PYTEST_MARKS:
        configured = files.read(files.root / name)
        if configured is not None and mark in configured:
            return True
    return not any("unittest" in (files.read(files.root / one) or "") for one in _UNITTEST_MARKS)


_UNITTEST_MARKS = ("Makefile", "tox.ini", "pyproject.toml", "README.md", "README.rst")


def _stem_of_test(path: Path) -> str:
    stem = path.stem
    return stem.removeprefix("test_") if stem.startswith("test_") else stem.removesuffix("_test")


def _python_place(source: Path, tests: list[Path], files: WorkspaceFiles) -> Path:
    """Place a new test file as the others are placed, by the rule that fits most of them."""
    trailing = sum(one.stem.endswith("_test") for one in tests) > len(tests) / 2
    name = f"{source.stem}_test.py" if trailing else f"test_{source.stem}.py"
    sources = [one for one in files.all() if one.suffix == ".py" and not is_python_test(one)]
    by_stem: dict[str, list[Path]] = {}
    for one in sources:
        by_stem.setdefault(one.stem, []).append(one)
    votes: Counter[str] = Counter()
    for test in tests:
        for subject in by_stem.get(_stem_of_test(test), []):
            for rule, place in _PLACES.items():
                votes[rule] += place(subject, files.root) == test.parent
    if votes and votes.most_common(1)[0][1]:
        best = max(_PLACES, key=lambda rule: votes[rule])
        return _PLACES[best](source, files.root) / name
    if tests:
        return nearest(tests, source)[0].parent / name
    return _tests_folder(files.root) / name


def _tests_folder(root: Path) -> Path:
    return root / "test" if (root / "test").is_dir() else root / "tests"


def _under(source: Path, root: Path) -> tuple[str, ...]:
    try:
        return source.parent.relative_to(root).parts
    except ValueError:
        return ()


def _mirrored(source: Path, root: Path) -> Path:
    return _tests_folder(root).joinpath(*_under(source, root))


def _mirrored_without_first(source: Path, root: Path) -> Path:
    return _tests_folder(root).joinpath(*_under(source, root)[1:])


def _mirrored_without_two(source: Path, root: Path) -> Path:
    return _tests_folder(root).joinpath(*_under(source, root)[2:])


_PLACES: dict[str, Callable[[Path, Path], Path]] = {
    "flat": lambda _, root: _tests_folder(root),
    "mirrored": _mirrored,
    "mirrored within the package": _mirrored_without_first,
    "mirrored within src and the package": _mirrored_without_two,
    "beside": lambda source, _: source.parent,
    "in a folder beside": lambda source, _: source.parent / "tests",
}
"""Where test files are kept, from the source file and the workspace's root."""


# JavaScript and TypeScript.

_JS_TEST = re.compile(r"(.+)[.](test|spec)[.]\w+$")


def _javascript(source: Path, files: WorkspaceFiles) -> Convention:
    framework = _js_framework(source, files)
    tests = [
        one
        for one in files.all()
        if one.suffix in _JS_SUFFIXES and (_JS_TEST.match(one.name) or "__tests__" in one.parts)
    ]
    existing = [one for one in tests if one.name.split(".")[0] == source.stem]
    mark = {"node": "node:test", "vitest": "vitest"}.get(framework, "")
    example = _example(tests, source, files, mark)
    if existing:
        return Convention(framework, nearest(existing, source)[0], example)
    spec = sum(".spec." in one.name for one in tests) > len(tests) / 2
    name = f"{source.stem}.{'spec' if spec else 'test'}{source.suffix}"
    return Convention(framework, _js_place(source, tests, files.root) / name, example)


def _js_framework(source: Path, files: WorkspaceFiles) -> Framework:
    for folder in (source.parent, *source.parents):
        text = files.read(folder / "package.json")
        if text is not None:
            try:
                package = json.loads(text)
            except ValueError:
                package = {}
            known = {**package.get("dependencies", {}), **package.get("devDependencies", {})}
            scripts = " ".join(map(str, package.get("scripts", {}).values()))
            for name in ("vitest", "jest"):
                if name in known or re.search(rf"\b{name}\b", scripts):
                    return "vitest" if name == "vitest" else "jest"
            return "node"
        if folder == files.root:
            break
    return "node"


def _js_place(source: Path, tests: list[Path], root: Path) -> Path:
    parents = {one.parent for one in nearest(tests, source)[:10]}
    if any(one.name == "__tests__" for one in parents):
        return source.parent / "__tests__"
    for name in ("test", "tests"):
        if root / name in parents:
            return root / name
    if not tests:
        found = [root / name for name in ("test", "tests") if (root / name).is_dir()]
        return found[0] if found else source.parent
    return source.parent


# Go, Rust, Java.


def _go(source: Path, files: WorkspaceFiles) -> Convention:
    file = source.with_name(f"{source.stem}_test.go")
    tests = [one for one in files.all() if one.name.endswith("_test.go")]
    return Convention("go", file, _example(tests, source, files, "func Test"))


def _rust(source: Path, files: WorkspaceFiles) -> Convention:
    sources = [one for one in files.all() if one.suffix == ".rs" and one != source]
    return Convention("cargo", source, _example(sources, source, files, "#[test]"))


def _java(source: Path, files: WorkspaceFiles) -> Convention:
    tests = [one for one in files.all() if one.name.endswith(("Test.java", "Tests.java"))]
    parts = list(source.parts)
    if "main" in parts:
        at = len(parts) - 1 - parts[::-1].index("main")
        parts[at] = "test"
    file = Path(*parts).with_name(f"{source.stem}Test.java")
    example = _example(tests, source, files, "@Test")
    return Convention(_junit(source, example, files), file, example)


def _junit(source: Path, example: str, files: WorkspaceFiles) -> Framework:
    if "org.junit.Test;" in example:
        return "junit4"
    for folder in source.parents:
        for name in ("pom.xml", "build.gradle", "build.gradle.kts"):
            text = files.read(folder / name) or ""
            if re.search(r"junit:junit|<artifactId>junit</artifactId>", text):
                return "junit4"
        if folder == files.root:
            break
    return "junit5"


_BY_GRAMMAR: dict[str, Callable[[Path, WorkspaceFiles], Convention]] = {
    "python": _python,
    "javascript": _javascript,
    "typescript": _javascript,
    "go": _go,
    "rust": _rust,
    "java": _java,
}

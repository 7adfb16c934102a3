"""Test conventions of Java projects: source sets of Maven and Gradle, JUnit 5 and JUnit 4."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from chat.tasks.conventions import Convention, find_example, sort_by_distance
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.java import JUnit, JUnitVersion, package_of
from chat.tasks.dialects.layout import exists
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError

_BUILD_FILES = ("pom.xml", "build.gradle", "build.gradle.kts")
_TEST_NAME = re.compile(r"Test[A-Z]\w*|\w+Tests?|\w+TestCase|\w+IT")
_LANGUAGE_FOLDERS = frozenset({"java", "kotlin", "groovy", "scala"})
_TEST_FOLDER_SETTINGS = (
    re.compile(r"<testSourceDirectory>\s*(?:\$\{[\w.]+\}/)?([^<$]+?)\s*</testSourceDirectory>"),
    re.compile(r"\btest\s*\{\s*java\s*\{[^}]*?srcDirs?[^'\"}]*['\"]([^'\"$]+)['\"]"),
)
_MAX_READ_TESTS = 100


def java_convention(subject: Subject, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Java file are written: in the same package of the test sources.

    Raises RequestError if the file is a test, if the subject is private, or if the project uses
    TestNG.
    """
    source = subject.path
    _check_visible(subject)
    module = _module_of(source, files)
    tests = sort_by_distance(
        (path for path in files.paths() if path.suffix == ".java" and _is_test(path)), source
    )
    package = package_of(subject.text)
    folder = _test_root(source, package, module, tests, files).joinpath(*package.split("."))
    test_file = _test_file(folder, source, tests, files)
    example = find_example([test_file, *tests], source, files, "@Test")
    existing = files.read(test_file) or ""
    framework = _junit_version(existing, example, source, files)
    return Convention(framework, test_file, JUnit(framework, test_file.stem), example)


def _is_test(path: Path) -> bool:
    return _TEST_NAME.fullmatch(path.stem) is not None and "main" not in _source_set(path)


def _source_set(path: Path) -> tuple[str, ...]:
    """Return the parts of a Gradle or Maven source set, such as `src`, `main` and `java`."""
    parts = path.parts
    for index in range(len(parts) - 3):
        if parts[index] == "src" and parts[index + 2] in _LANGUAGE_FOLDERS:
            return parts[index : index + 3]
    return ()


def _check_visible(subject: Subject) -> None:
    source, name = subject.path, subject.symbol.name
    if _is_test(source) and re.search(r"@(?:Parameterized|Repeated)?Test\b", subject.text):
        raise RequestError(
            f"{source.name} contains tests. Put the cursor into the code that they test."
        )
    before_name = subject.symbol.text.partition(name)[0]
    if re.search(r"\bprivate\b", before_name):
        raise RequestError(
            f"{name} is private, so a test cannot use it. Put the cursor into a method that calls "
            "it and that is not private."
        )


def _module_of(source: Path, files: WorkspaceFiles) -> Path:
    """Return the folder of the nearest build file, else the workspace folder."""
    for folder in source.parents:
        if folder == files.root or any(
            files.read(folder / name) is not None for name in _BUILD_FILES
        ):
            return folder
    return files.root


def _test_root(
    source: Path, package: str, module: Path, tests: list[Path], files: WorkspaceFiles
) -> Path:
    """Return the folder that contains the packages of the tests."""
    source_root = _root_of_packages(source, package)
    if source_root is None:
        source_root = source.parent
    configured = _configured_root(module, files)
    if configured is not None:
        return configured
    votes: Counter[Path] = Counter()
    for test in tests[:_MAX_READ_TESTS]:
        root = _root_of_packages(test, package_of(files.read(test) or ""))
        is_usual = _source_set(test)[1:2] in ((), ("test",))
        if root is not None and is_usual and _module_of(test, files) == module:
            votes[root] += 1
    if votes:
        return votes.most_common(1)[0][0]
    parts = source_root.parts
    if len(parts) >= 3 and parts[-3] == "src" and parts[-1] in _LANGUAGE_FOLDERS:
        return source_root.parents[1] / "test" / "java"
    if parts[-2:] == ("src", "main"):
        return source_root.with_name("test")
    if source_root.name == "src":
        siblings = (source_root.with_name(name) for name in ("test", "tests"))
        return next((folder for folder in siblings if folder.is_dir()), source_root)
    return source_root


def _root_of_packages(path: Path, package: str) -> Path | None:
    """Return the folder in which the package of a file begins, None if the folders differ."""
    parts = tuple(package.split(".")) if package else ()
    folders = path.parent.parts
    if parts and folders[len(folders) - len(parts) :] != parts:
        return None
    return Path(*folders[: len(folders) - len(parts)])


def _configured_root(module: Path, files: WorkspaceFiles) -> Path | None:
    for name in _BUILD_FILES:
        text = files.read(module / name) or ""
        for setting in _TEST_FOLDER_SETTINGS:
            match = setting.search(text)
            if match:
                return module / match[1]
    return None


def _test_file(folder: Path, source: Path, tests: list[Path], files: WorkspaceFiles) -> Path:
    """Return the class for the tests: an existing one of this package, else the usual name."""
    plural = sum(test.stem.endswith("Tests") for test in tests) > len(tests) / 2
    prefixed = sum(test.stem.startswith("Test") for test in tests) > len(tests) / 2
    names = [f"{source.stem}Test", f"{source.stem}Tests", f"Test{source.stem}"]
    for name in (*names, f"{source.stem}TestCase"):
        if exists(folder / f"{name}.java", files):
            return folder / f"{name}.java"
    return folder / f"{names[1 if plural else 2 if prefixed else 0]}.java"


def _junit_version(
    existing: str, example: str, source: Path, files: WorkspaceFiles
) -> JUnitVersion:
    for text in (existing, example):
        if "org.junit.jupiter" in text:
            return "junit5"
        if "org.junit.Test;" in text or "org.junit.*;" in text:
            return "junit4"
        if "org.testng" in text:
            raise RequestError(
                "The tests of this project use TestNG. Tests can be written for JUnit 5 and 4."
            )
    for folder in source.parents:
        for name in _BUILD_FILES:
            text = files.read(folder / name) or ""
            if re.search(r"junit-jupiter|junit\.jupiter|useJUnitPlatform", text):
                return "junit5"
            if re.search(r"junit:junit|<artifactId>junit</artifactId>", text):
                return "junit4"
        if folder == files.root:
            break
    return "junit5"

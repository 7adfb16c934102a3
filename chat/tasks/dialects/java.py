"""Java: JUnit 5 and JUnit 4."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from chat.tasks.conventions import Convention, Framework, find_example
from chat.tasks.dialects.base import Dialect, GeneratedTests, Subject, insert
from chat.tasks.dialects.snippets import find_snippets, first_group
from chat.tasks.target import FileEdit, WorkspaceFiles

_TEST = re.compile(r"^[ \t]*@Test\b", re.M)
_NODE_TYPES = frozenset({"method_declaration"})
_NAME = re.compile(r"\bvoid (\w+)\s*\(")
_IMPORT = re.compile(r"^import (?:static )?[\w.]+(?:\.\*)?;", re.M)
_PACKAGE = re.compile(r"^package ([\w.]+);", re.M)
_AROUND_METHOD = ("class X {\n", "\n}")


def java_convention(source: Path, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Java file are written: in `*Test.java` below `test`, not `main`."""
    tests = [path for path in files.paths() if path.name.endswith(("Test.java", "Tests.java"))]
    parts = list(source.parts)
    if "main" in parts:
        last_index = len(parts) - 1 - parts[::-1].index("main")
        parts[last_index] = "test"
    test_file = Path(*parts).with_name(f"{source.stem}Test.java")
    example = find_example(tests, source, files, "@Test")
    return Convention(_junit_version(source, example, files), test_file, example)


def _junit_version(source: Path, example: str, files: WorkspaceFiles) -> Framework:
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


class JUnit(Dialect):
    """Methods with the annotation `@Test` in a test class."""

    fence = language = "java"
    assertion = re.compile(r"\bassert\w*\(|\bfail\(|expected\s*=")

    def __init__(self, framework: str, package: str) -> None:
        self.framework = framework
        assertions = "Assertions" if "jupiter" in package else "Assert"
        self._imports = (
            f"import {package}.Test;",
            f"import static {package}.{assertions}.*;",
        )

    def file_head(self, subject: Subject) -> str:
        return "\n".join(self._imports) + "\n\n"

    def test_opening(self, subject: Subject) -> str:
        name = f"{subject.path.stem}Test"
        return f"class {name} {{\n    @Test\n    public void {subject.symbol.name}"

    def first_call(self, subject: Subject) -> str:
        return f"() {{\n        assertEquals({subject.class_name}.{subject.symbol.name}("

    def parse(self, code: str) -> GeneratedTests:
        name_of = partial(first_group, _NAME)
        tests = find_snippets(code, "java", _TEST, _NODE_TYPES, name_of, _AROUND_METHOD)
        return GeneratedTests(tuple(_IMPORT.findall(code)), (), tuple(tests))

    def declared_names(self, existing: str) -> set[str]:
        return set(_NAME.findall(existing))

    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        package = first_group(_PACKAGE, subject.text)
        head = [f"package {package};"] if package else []
        head.append("\n".join(self._needed_imports(generated)))
        tests = _indented_tests(generated)
        return "\n\n".join([*head, f"class {subject.path.stem}Test {{\n{tests}\n}}\n"])

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, existing: str
    ) -> list[FileEdit]:
        needed = self._needed_imports(generated)
        lines = "".join(f"\n{line}" for line in needed if not _has_import(existing, line))
        if not lines:
            return []
        above = (*_PACKAGE.finditer(existing), *_IMPORT.finditer(existing))
        position = max((match.end() for match in above), default=0)
        return [insert(subject.test_file, existing, position, lines)]

    def test_edit(self, generated: GeneratedTests, subject: Subject, existing: str) -> FileEdit:
        brace = existing.rfind("}")
        position = existing.rfind("\n", 0, brace) + 1 if brace >= 0 else len(existing)
        tests = _indented_tests(generated)
        return insert(subject.test_file, existing, position, f"\n{tests}\n")

    def _needed_imports(self, generated: GeneratedTests) -> list[str]:
        code = "\n".join(test.text for test in generated.tests)
        used = {
            line
            for line in generated.imports
            if line.startswith("import java.") and re.search(rf"\b{_class_pattern(line)}\b", code)
        }
        return [*sorted(used), *self._imports]


def _class_pattern(import_line: str) -> str:
    """Return a pattern for the class that a line imports, or for any class of a package."""
    name = import_line.rstrip(";").rsplit(".", 1)[-1]
    return r"\w+" if name == "*" else name


def _has_import(existing: str, import_line: str) -> bool:
    if import_line in existing:
        return True
    package = import_line.rsplit(".", 1)[0]
    is_test_annotation = import_line.endswith(".Test;")
    return f"{package}.*;" in existing if is_test_annotation else f"{package}." in existing


def _indented_tests(generated: GeneratedTests) -> str:
    return "\n\n".join(_indent(test.text) for test in generated.tests)


def _indent(text: str) -> str:
    """Indent a method whose first line, unlike the others, has lost its indentation."""
    first, *rest = text.split("\n")
    widths = (len(line) - len(line.lstrip()) for line in rest if line.strip())
    width = min(widths, default=0)
    lines = [first, *(line[width:] if line.strip() else "" for line in rest)]
    return "\n".join(f"    {line}" if line else "" for line in lines)

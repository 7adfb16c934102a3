"""Java: JUnit 5 and JUnit 4."""

from __future__ import annotations

import re
from functools import partial
from typing import Literal

from chat.tasks.dialects.base import Destination, Dialect, GeneratedTests, Subject
from chat.tasks.dialects.snippets import find_snippets, first_group
from chat.tasks.target import FileEdit
from syntax.grammars import parse

JUnitVersion = Literal["junit5", "junit4"]

_TEST = re.compile(r"^[ \t]*@Test\b", re.M)
_NODE_TYPES = frozenset({"method_declaration"})
_NAME = re.compile(r"\bvoid (\w+)\s*\(")
_IMPORT = re.compile(r"^import (?:static )?[\w.]+(?:\.\*)?;", re.M)
_PACKAGE = re.compile(r"^package ([\w.]+);", re.M)
_PACKAGE_PRIVATE = re.compile(r"^([ \t]*)void\b", re.M)
_AROUND_METHOD = ("class X {\n", "\n}")


def package_of(text: str) -> str:
    """Return the package that a Java file declares, empty for the default package."""
    root = parse(text, "java")
    for node in root.named_children if root is not None else ():
        if node.type == "package_declaration":
            return "".join((node.named_children[-1].text or b"").decode().split())
    return ""


class JUnit(Dialect):
    """Methods with the annotation `@Test` in a test class."""

    fence = language = "java"
    assertion = re.compile(r"\bassert\w*\(|\bfail\(|expected\s*=")

    def __init__(self, version: JUnitVersion, class_name: str) -> None:
        """Create a dialect for a test class of this name."""
        self._class_name = class_name
        # JUnit 4 runs only public classes and methods.
        self._is_public = version == "junit4"
        self.framework = "JUnit 4" if version == "junit4" else "JUnit 5"
        package = "org.junit" if version == "junit4" else "org.junit.jupiter.api"
        assertions = "Assert" if version == "junit4" else "Assertions"
        self._imports = (
            f"import {package}.Test;",
            f"import static {package}.{assertions}.*;",
        )

    def file_head(self, subject: Subject) -> str:
        return "\n".join(self._imports) + "\n\n"

    def test_opening(self, subject: Subject, name: str = "") -> str:
        method = name or subject.symbol.name
        return f"class {self._class_name} {{\n    @Test\n    public void {method}"

    def test_name(self, words: str) -> str:
        parts: list[str] = re.findall(r"\w+", words) or ["test"]
        return parts[0] + "".join(part[:1].upper() + part[1:] for part in parts[1:])

    def first_call(self, subject: Subject) -> str:
        outer = ".".join(subject.symbol.parents)
        return f"() {{\n        assertEquals({outer}.{subject.symbol.name}("

    def parse(self, code: str) -> GeneratedTests:
        name_of = partial(first_group, _NAME)
        tests = find_snippets(code, "java", _TEST, _NODE_TYPES, name_of, _AROUND_METHOD)
        return GeneratedTests(tuple(_IMPORT.findall(code)), (), tuple(tests))

    def declared_names(self, existing: str) -> set[str]:
        return set(_NAME.findall(existing))

    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        package = package_of(subject.text)
        head = [f"package {package};"] if package else []
        head.append("\n".join(self._needed_imports(generated)))
        tests = self._indented_tests(generated)
        public = "public " if self._is_public else ""
        return "\n\n".join([*head, f"{public}class {self._class_name} {{\n{tests}\n}}\n"])

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, file: Destination
    ) -> list[FileEdit]:
        needed = self._needed_imports(generated)
        lines = "".join(f"\n{line}" for line in needed if not _has_import(file.text, line))
        if not lines:
            return []
        above = (*_PACKAGE.finditer(file.text), *_IMPORT.finditer(file.text))
        position = max((match.end() for match in above), default=0)
        return [file.insert(position, lines if position else f"{lines.strip()}\n\n")]

    def test_edit(self, generated: GeneratedTests, subject: Subject, file: Destination) -> FileEdit:
        text = file.text
        brace = _end_of_class(text, self._class_name)
        line = text.rfind("\n", 0, brace) + 1
        position = brace if text[line:brace].strip() else line
        return file.insert(position, f"\n{self._indented_tests(generated)}\n")

    def _indented_tests(self, generated: GeneratedTests) -> str:
        texts = [test.text for test in generated.tests]
        if self._is_public:
            texts = [_PACKAGE_PRIVATE.sub(r"\1public void", text, count=1) for text in texts]
        return "\n\n".join(_indent(text) for text in texts)

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
    if import_line.endswith(".*;"):
        return False  # the file may import only some of the names
    package = import_line.rsplit(".", 1)[0]
    is_test_annotation = import_line.endswith(".Test;")
    return f"{package}.*;" in existing if is_test_annotation else f"{package}." in existing


def _end_of_class(text: str, name: str) -> int:
    """Return the offset of the last brace of a class, or of the last class of the file."""
    root = parse(text, "java")
    end = text.rfind("}") if "}" in text else len(text)
    for node in root.named_children if root is not None else ():
        body, own_name = node.child_by_field_name("body"), node.child_by_field_name("name")
        if body is not None and own_name is not None:
            encoded = text.encode("utf-8", "surrogatepass")[: body.end_byte - 1]
            end = len(encoded.decode("utf-8", "surrogatepass"))
            if own_name.text == name.encode():
                return end
    return end


def _indent(text: str) -> str:
    """Indent a method whose first line, unlike the others, has lost its indentation."""
    first, *rest = text.split("\n")
    widths = (len(line) - len(line.lstrip()) for line in rest if line.strip())
    width = min(widths, default=0)
    lines = [first, *(line[width:] if line.strip() else "" for line in rest)]
    return "\n".join(f"    {line}" if line else "" for line in lines)

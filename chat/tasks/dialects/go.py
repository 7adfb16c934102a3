"""Go: functions named `Test...`, run by `go test`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from chat.tasks.conventions import Convention, find_example
from chat.tasks.dialects.base import Dialect, GeneratedTests, Subject, insert
from chat.tasks.dialects.snippets import find_snippets, first_group
from chat.tasks.target import FileEdit, WorkspaceFiles

_FUNCTION = re.compile(r"^func \w+\(", re.M)
_NODE_TYPES = frozenset({"function_declaration"})
_NAME = re.compile(r"func (\w+)")
_PACKAGE = re.compile(r"^package (\w+)", re.M)
_IMPORT_PATH = re.compile(r'"([^"\n]+)"')
_IMPORT_BLOCK = re.compile(r"^import \((.*?)^\)", re.M | re.S)
_STANDARD_PACKAGES = {
    path.rsplit("/", 1)[-1]: path
    for path in (
        "bytes",
        "context",
        "encoding/json",
        "errors",
        "fmt",
        "io",
        "math",
        "net/http",
        "net/http/httptest",
        "os",
        "path/filepath",
        "reflect",
        "regexp",
        "slices",
        "sort",
        "strconv",
        "strings",
        "sync",
        "testing",
        "time",
        "unicode",
    )
}
"""Import paths of packages that tests often use, by the name of the package in code."""


def go_convention(source: Path, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Go file are written: in `*_test.go` next to it."""
    test_file = source.with_name(f"{source.stem}_test.go")
    tests = [path for path in files.paths() if path.name.endswith("_test.go")]
    return Convention("go", test_file, find_example(tests, source, files, "func Test"))


class Go(Dialect):
    """Test functions in the package of the source file."""

    framework = "Go's testing package"
    fence = language = "go"
    assertion = re.compile(r"\bt\.(Error|Fatal|Fail|Run)|\b(assert|require)\.")

    def file_head(self, subject: Subject) -> str:
        return 'import "testing"\n\n'

    def test_opening(self, subject: Subject) -> str:
        return f"func Test{subject.camel_case}"

    def first_call(self, subject: Subject) -> str:
        if subject.class_name:
            return f"(t *testing.T) {{\n\tmade := {subject.class_name}{{"
        return f"(t *testing.T) {{\n\tif got := {subject.symbol.name}("

    def parse(self, code: str) -> GeneratedTests:
        name_of = partial(first_group, _NAME)
        functions = list(find_snippets(code, "go", _FUNCTION, _NODE_TYPES, name_of))
        test_signature = re.compile(r"func Test\w*\(\w+ \*testing\.T\)")
        return GeneratedTests(
            imports=tuple(_IMPORT_PATH.findall(code)),
            helpers=tuple(
                function for function in functions if not function.name.startswith("Test")
            ),
            tests=tuple(function for function in functions if test_signature.search(function.text)),
        )

    def declared_names(self, existing: str) -> set[str]:
        return set(re.findall(r"^func (\w+)", existing, re.M))

    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        code = generated.joined()
        package = first_group(_PACKAGE, subject.text) or "main"
        imports = "\n".join(f'\t"{path}"' for path in _used_packages(code, subject.text))
        return f"package {package}\n\nimport (\n{imports}\n)\n\n{code.strip()}\n"

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, existing: str
    ) -> list[FileEdit]:
        packages = _used_packages(generated.joined(), subject.text)
        lines = "".join(f'\t"{path}"\n' for path in packages if f'"{path}"' not in existing)
        if not lines:
            return []
        block, package = _IMPORT_BLOCK.search(existing), _PACKAGE.search(existing)
        if block:
            return [insert(subject.test_file, existing, block.end(1), lines)]
        position = package.end() if package else 0
        return [insert(subject.test_file, existing, position, f"\n\nimport (\n{lines})")]


def _used_packages(code: str, source: str) -> list[str]:
    """Return exactly the packages that the code uses, because Go rejects unused imports."""
    paths = {path.rsplit("/", 1)[-1]: path for path in _imports_of(source)} | _STANDARD_PACKAGES
    used_names = set(re.findall(r"(?<![\w.\"])([a-z]\w*)\.[A-Z]", code))
    return sorted(paths[name] for name in used_names if name in paths)


def _imports_of(source: str) -> list[str]:
    block = _IMPORT_BLOCK.search(source)
    single = re.findall(r'^import "([^"\n]+)"', source, re.M)
    return [*single, *(_IMPORT_PATH.findall(block[1]) if block else [])]

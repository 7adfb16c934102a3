"""Go: functions named `Test...`, run by `go test`."""

from __future__ import annotations

import re
from functools import partial

from chat.tasks.dialects.base import Destination, Dialect, GeneratedTests, Snippet, Subject
from chat.tasks.dialects.go_code import (
    GoImport,
    GoPackage,
    build_constraint,
    declared_names,
    end_of_imports,
    imports_of,
    qualified,
    unexported_names,
)
from chat.tasks.dialects.snippets import find_snippets, first_group
from chat.tasks.target import FileEdit

_FUNCTION = re.compile(r"^func \w+\(", re.M)
_NODE_TYPES = frozenset({"function_declaration"})
_NAME = re.compile(r"func (\w+)")
_USED_PACKAGE = re.compile(r"(?<![\w.\"])([a-z]\w*)\.[A-Z]")
_STANDARD_PACKAGES = (
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
"""Import paths of packages that tests often use."""


class Go(Dialect):
    """Test functions in the package of the source file, or outside of it."""

    framework = "Go's testing package"
    fence = language = "go"
    assertion = re.compile(r"\bt\.(Error|Fatal|Fail|Run)|\b(assert|require)\.")

    def __init__(
        self, package: str, own: GoPackage, taken: frozenset[str], requirements: tuple[str, ...]
    ) -> None:
        """Create a dialect.

        `package` is the package of the test file, `own` that of the source file. `taken` are names
        that other files of the test file's package declare. `requirements` are the modules that the
        project requires.
        """
        self._package = package
        self._own = own
        self._taken = taken
        self._requirements = requirements
        self.qualifier = f"{own.name}." if own.is_outside else ""

    def file_head(self, subject: Subject) -> str:
        if not self._own.is_outside:
            return 'import "testing"\n\n'
        return f'import (\n\t"testing"\n\n\t"{self._own.import_path}"\n)\n\n'

    def test_opening(self, subject: Subject, name: str = "") -> str:
        own = subject.camel_case
        default = f"Test{own if subject.symbol.name[0].isalpha() else '_' + own}"
        return f"func {name or default}"

    def test_name(self, words: str) -> str:
        parts = re.findall(r"\w+", words)
        if len(parts) > 1:
            parts = [part[:1].upper() + part[1:] for part in parts]
        name = "".join(parts)
        return name if name.startswith("Test") else f"Test{name[:1].upper()}{name[1:]}"

    def first_call(self, subject: Subject) -> str:
        if subject.class_name:
            return f"(t *testing.T) {{\n\tmade := {self.qualifier}{subject.class_name}{{"
        return f"(t *testing.T) {{\n\tif got := {self.qualifier}{subject.symbol.name}("

    def parse(self, code: str) -> GeneratedTests:
        name_of = partial(first_group, _NAME)
        functions = list(find_snippets(code, "go", _FUNCTION, _NODE_TYPES, name_of))
        test_signature = re.compile(r"func Test\w*\(\w+ \*testing\.T\)")
        return GeneratedTests(
            imports=tuple(imported.spec for imported in imports_of(f"package p\n{code}")),
            helpers=tuple(
                function for function in functions if not function.name.startswith("Test")
            ),
            tests=tuple(function for function in functions if test_signature.search(function.text)),
        )

    def declared_names(self, existing: str) -> set[str]:
        return declared_names(existing) | self._taken

    def has_all_names(
        self, test: Snippet, generated: GeneratedTests, subject: Subject, existing: str
    ) -> bool:
        if self._own.is_outside and unexported_names(test.text, self._own.declared):
            return False
        packages = self._known_packages(generated, subject.text, existing)
        written = imports_of(_import_declaration(generated.imports))
        used = set(_USED_PACKAGE.findall(test.text))
        return all(imported.name in packages for imported in written if imported.name in used)

    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        code = self._code(generated, "")
        constraint = build_constraint(subject.text)
        head = f"{constraint}\n\n" if constraint else ""
        specs = [each.spec for each in self._used_packages(generated, code, subject.text, "")]
        imports = "\n".join(f"\t{spec}" for spec in specs)
        return f"{head}package {self._package}\n\nimport (\n{imports}\n)\n\n{code.strip()}\n"

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, file: Destination
    ) -> list[FileEdit]:
        existing = file.text
        code = self._code(generated, existing)
        present = {imported.path for imported in imports_of(existing)}
        packages = self._used_packages(generated, code, subject.text, existing)
        lines = "".join(f"\t{each.spec}\n" for each in packages if each.path not in present)
        if not lines:
            return []
        position, is_list = end_of_imports(existing) or (0, False)
        if is_list:
            is_line_start = existing[:position].endswith("\n")
            return [file.insert(position, lines if is_line_start else f"\n{lines}")]
        return [file.insert(position, f"\n\nimport (\n{lines})")]

    def test_edit(self, generated: GeneratedTests, subject: Subject, file: Destination) -> FileEdit:
        return file.append(self._code(generated, file.text))

    def _code(self, generated: GeneratedTests, existing: str) -> str:
        """Return the tests, with the package's name before its names if they are outside of it."""
        code = generated.joined()
        if not self._own.is_outside:
            return code
        imported = (each for each in imports_of(existing) if each.path == self._own.import_path)
        alias = next((each.alias for each in imported if each.alias != "_"), "")
        if alias == ".":
            return code
        own_name = alias or self._own.name
        return qualified(code, self._own.declared - self.declared_names(existing), own_name)

    def _known_packages(
        self, generated: GeneratedTests, source: str, existing: str
    ) -> dict[str, GoImport]:
        """Return the packages that tests may use, by their name in code."""
        written = [
            imported
            for imported in imports_of(_import_declaration(generated.imports))
            if any(f"{imported.path}/".startswith(f"{each}/") for each in self._requirements)
        ]
        imports = [*written, *imports_of(source), *imports_of(existing)]
        named = {each.name: each for each in imports if each.alias not in (".", "_")}
        named |= {path.rsplit("/", 1)[-1]: GoImport(path) for path in _STANDARD_PACKAGES}
        if self._own.is_outside:
            own = GoImport(self._own.import_path)
            alias = "" if own.name == self._own.name else self._own.name
            named[self._own.name] = GoImport(own.path, alias)
        return named

    def _used_packages(
        self, generated: GeneratedTests, code: str, source: str, existing: str
    ) -> list[GoImport]:
        """Return exactly the packages that the code uses, because Go rejects unused imports."""
        named = self._known_packages(generated, source, existing)
        used_names = set(_USED_PACKAGE.findall(code))
        used = {named[name] for name in used_names if name in named}
        return sorted(used, key=lambda imported: imported.path)


def _import_declaration(specs: tuple[str, ...]) -> str:
    lines = "\n".join(specs)
    return f"package p\nimport (\n{lines}\n)\n"

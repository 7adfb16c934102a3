"""Packages, imports, names and build constraints in Go code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter

from syntax.grammars import parse

_CONSTRAINT = re.compile(r"^//(?:go:build| ?\+build)\b.*$", re.M)
_VERSION = re.compile(r"(?:/v\d+|\.v\d+)$")


@dataclass(frozen=True, slots=True)
class GoPackage:
    """The package of the source file, as its tests see it."""

    name: str
    import_path: str
    is_outside: bool
    """Whether the tests are in another package (`package x_test`) and import this one."""
    declared: frozenset[str]
    """The names that the package declares."""


@dataclass(frozen=True, slots=True)
class GoImport:
    """An import of a package."""

    path: str
    alias: str = ""
    """Another name for the package, `.` for all its names, `_` for none."""

    @property
    def name(self) -> str:
        """The name of the package in code. It is guessed from the path, if there is no alias."""
        return self.alias or _VERSION.sub("", self.path).rsplit("/", 1)[-1].removeprefix("go-")

    @property
    def spec(self) -> str:
        """The import as it is written inside an import declaration."""
        return f'{self.alias} "{self.path}"' if self.alias else f'"{self.path}"'


def package_of(text: str) -> str:
    """Return the package that a file declares, empty without a declaration."""
    root = parse(text, "go")
    for node in root.named_children if root is not None else ():
        if node.type == "package_clause":
            return _text(node.named_children[-1])
    return ""


def build_constraint(text: str) -> str:
    """Return the lines that limit on which systems a file is compiled; empty without any."""
    head = re.split(r"^package\b", text, maxsplit=1, flags=re.M)[0]
    lines = _CONSTRAINT.findall(head)
    return "\n".join(line for line in lines if line.startswith("//go:build")) or "\n".join(lines)


def imports_of(text: str) -> list[GoImport]:
    """Return the imports of a file."""
    root = parse(text, "go")
    imports = []
    for declaration in root.named_children if root is not None else ():
        if declaration.type == "import_declaration":
            for spec in _nodes(declaration):
                if spec.type == "import_spec":
                    path = _text(spec.child_by_field_name("path")).strip('"`')
                    imports.append(GoImport(path, _text(spec.child_by_field_name("name"))))
    return imports


def end_of_imports(text: str) -> tuple[int, bool] | None:
    """Return the offset at which an import can be added, and whether it is inside parentheses.

    None if the file has no package declaration.
    """
    root = parse(text, "go")
    result: tuple[int, bool] | None = None
    for node in root.named_children if root is not None else ():
        if node.type == "package_clause" and result is None:
            result = (node.end_byte, False)
        if node.type == "import_declaration":
            last = node.children[-1]
            is_list = last.type == "import_spec_list" and _text(last).startswith("(")
            if is_list:
                result = (last.end_byte - 1, True)
                break
    if result is None:
        return None
    encoded = text.encode("utf-8", "surrogatepass")[: result[0]]
    return len(encoded.decode("utf-8", "surrogatepass")), result[1]


def declared_names(text: str) -> set[str]:
    """Return the names of functions, types, variables and constants that a file declares.

    Methods are not among them.
    """
    root = parse(text, "go")
    names: set[str] = set()
    for node in root.named_children if root is not None else ():
        if node.type == "function_declaration":
            names.add(_text(node.child_by_field_name("name")))
        elif node.type in ("type_declaration", "var_declaration", "const_declaration"):
            names |= {_text(name) for spec in _specs(node) for name in spec}
    return names - {"", "_", "init"}


def _specs(declaration: tree_sitter.Node) -> Iterator[list[tree_sitter.Node]]:
    for node in declaration.named_children:
        specs = node.named_children if node.type.endswith("_list") else [node]
        for spec in specs:
            yield spec.children_by_field_name("name")


def qualified(code: str, names: frozenset[str], package: str) -> str:
    """Return code in which the exported names of a package have the name of the package."""
    head = "package p\n"
    root = parse(head + code, "go")
    encoded = (head + code).encode("utf-8", "surrogatepass")
    positions = []
    for node in _nodes(root) if root is not None else ():
        is_name = node.type in ("identifier", "type_identifier") and _text(node) in names
        if is_name and _text(node)[:1].isupper() and _is_package_level(node):
            positions.append(node.start_byte)
    for position in sorted(positions, reverse=True):
        encoded = encoded[:position] + f"{package}.".encode() + encoded[position:]
    return encoded.decode("utf-8", "surrogatepass")[len(head) :]


def unexported_names(code: str, names: frozenset[str]) -> set[str]:
    """Return the names of a package that code uses and that only the package itself may use."""
    root = parse(f"package p\n{code}", "go")
    used = {
        _text(node)
        for node in (_nodes(root) if root is not None else ())
        if node.type in ("identifier", "type_identifier") and _is_package_level(node)
    }
    local = set(re.findall(r"(\w+)(?:, \w+)* :?= |\bvar (\w+)|\bfunc (\w+)", code))
    own = {name for group in local for name in group}
    return {name for name in used & names if not name[:1].isupper()} - own


def _is_package_level(node: tree_sitter.Node) -> bool:
    """Whether a name is no selector, no key of a literal and no declaration."""
    parent = node.parent
    if parent is None or parent.type == "qualified_type":
        return False
    if parent.type in ("function_declaration", "type_spec", "parameter_declaration"):
        return node != parent.child_by_field_name("name")
    outer = parent.parent
    is_element = parent.type == "literal_element" and outer is not None
    if is_element and outer is not None and outer.type == "keyed_element":
        return outer.named_children[0] != parent
    return True


def _nodes(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack += node.children


def _text(node: tree_sitter.Node | None) -> str:
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""

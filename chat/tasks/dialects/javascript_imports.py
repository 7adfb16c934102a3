"""Import statements of JavaScript and TypeScript, in ES modules and CommonJS modules."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

import tree_sitter

from syntax.grammars import parse

Style = Literal["import", "require"]


@dataclass(frozen=True, slots=True)
class ModuleImport:
    """The import of names from one module."""

    module: str
    names: tuple[tuple[str, str], ...] = ()
    """Pairs of the exported name and the name in the importing file."""
    whole: str = ""
    """The name for the default export, or for the whole CommonJS module."""
    inner: str = ""
    """A property of `whole` that is imported instead of it; `names` has its name in the file."""
    is_assigned: bool = False
    """Whether the module exports with `export =`, which only TypeScript has."""

    def without(self, bound: Set[str]) -> ModuleImport | None:
        """Return the import without names that a file has already, None if it has all."""
        names = tuple(pair for pair in self.names if pair[1] not in bound)
        if not names and (not self.whole or self.inner or self.whole in bound):
            return None
        whole = "" if self.whole in bound and not self.inner else self.whole
        return ModuleImport(self.module, names, whole, self.inner, self.is_assigned)

    def statement(self, style: Style) -> str:
        """Return the statement."""
        if style == "require":
            return self._require()
        if self.is_assigned:
            return f'import {self.whole} = require("{self.module}");{self._taken_from_whole()}'
        named = ", ".join(name if name == own else f"{name} as {own}" for name, own in self.names)
        braces = f"{{ {named} }}" if named and not self.inner else ""
        bindings = ", ".join(part for part in (self.whole, braces) if part)
        return f'import {bindings} from "{self.module}";{self._taken_from_whole()}'

    def _require(self) -> str:
        named = ", ".join(name if name == own else f"{name}: {own}" for name, own in self.names)
        binding = f"{{ {named} }}" if named else self.whole
        return f'const {binding} = require("{self.module}");'

    def _taken_from_whole(self) -> str:
        if not self.inner:
            return ""
        named = ", ".join(name if name == own else f"{name}: {own}" for name, own in self.names)
        return f"\nconst {{ {named} }} = {self.whole};"


@dataclass(frozen=True, slots=True)
class ImportsOfFile:
    """The imports at the top level of a file."""

    modules: tuple[str, ...] = ()
    bound: frozenset[str] = frozenset()
    """The names that imports and `require` define in the file."""
    end: int | None = None
    """End of the last import, in code points; None without an import."""
    style: Style | None = None


def read_imports(text: str, language: str) -> ImportsOfFile:
    """Return the imports of a file; those inside functions count only as modules."""
    root = parse(text, language)
    if root is None:
        return ImportsOfFile()
    nodes = [node for node in root.named_children if _is_import(node)]
    bound = {name for node in nodes for name in _bound_names(node)}
    kinds = {node.type for node in nodes}
    style: Style | None = "import" if "import_statement" in kinds else "require" if kinds else None
    end = (
        len(text.encode("utf-8", "surrogatepass")[: nodes[-1].end_byte].decode()) if nodes else None
    )
    modules = re.findall(r"""(?:\bfrom|\bimport|\brequire\(|\bimport\()\s*["']([^"'\n]+)""", text)
    return ImportsOfFile(tuple(modules), frozenset(bound), end, style)


def _is_import(node: tree_sitter.Node) -> bool:
    if node.type == "import_statement":
        return True
    is_variable = node.type in ("lexical_declaration", "variable_declaration")
    return is_variable and b"require(" in (node.text or b"")


def _bound_names(node: tree_sitter.Node) -> list[str]:
    text = (node.text or b"").decode("utf-8", "replace")
    clause = re.sub(r"\bfrom\s*[\"'].*|=\s*(await\s+)?(require|import)\b.*", "", text, flags=re.S)
    clause = re.sub(r"\w+\s*(?:\bas\b|:)\s*(?=\w)", "", clause)
    return [name for name in re.findall(r"[\w$]+", clause) if name not in _KEYWORDS]


_KEYWORDS = frozenset({"as", "const", "import", "let", "type", "var"})

"""The functions and classes in a source file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import tree_sitter

from syntax.grammars import grammar_name, parse

SymbolKind = Literal["function", "class"]

_FUNCTION_NODES = {
    "function_definition",
    "function_declaration",
    "method_declaration",
    "method_definition",
    "function_item",
    "constructor_declaration",
    "generator_function_declaration",
    "method",
    "singleton_method",
    "local_function_statement",
}
_CLASS_NODES = {
    "class_definition",
    "class_declaration",
    "class_specifier",
    "struct_item",
    "enum_item",
    "trait_item",
    "interface_declaration",
    "struct_specifier",
    "object_definition",
    "trait_definition",
    "class",
    "module",
    "record_declaration",
    "enum_declaration",
}
_IMPL_NODES = {"impl_item"}
"""Nodes that contain methods but are no symbols."""
_FUNCTION_VALUES = {"arrow_function", "function_expression", "function", "generator_function"}
"""Values that make a variable a function (JavaScript)."""
_WRAPPERS = {"decorated_definition", "export_statement", "template_declaration"}
"""Nodes around a definition that belong to it."""
_BODY_NODES = {"function_body", "block", "class_body", "body_statement", "compound_statement"}
_LANGUAGES_WITHOUT_SYMBOLS = {"json", "yaml", "toml", "html", "css", "sql"}
_NAME_NODES = {
    "identifier",
    "property_identifier",
    "type_identifier",
    "field_identifier",
    "constant",
    "simple_identifier",
    "word",
    "name",
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or class. Offsets are in code points of the file."""

    kind: SymbolKind
    name: str
    parents: tuple[str, ...]
    """Names of the classes and functions around the symbol, outermost first."""
    start: int
    """Start of the definition, including its decorators."""
    end: int
    body: int
    """Start of the body after the signature. It equals `end` if there is no body."""
    text: str
    indent: str
    """White space before the first line."""
    in_function: bool = False
    """Whether the symbol is inside a function, so that other code cannot use it."""

    @property
    def dedented(self) -> str:
        """The text without the indentation of its first line."""
        first, *rest = self.text.split("\n")
        width = len(self.indent)
        dedented = [line[width:] if line[:width].isspace() else line for line in rest]
        return "\n".join([first, *dedented])


def find_symbols(text: str, language: str) -> list[Symbol]:
    """Return the symbols of a file in their order, outer ones first; none without a grammar."""
    root = parse(text, language)
    if root is None or grammar_name(language) in _LANGUAGES_WITHOUT_SYMBOLS:
        return []
    return list(_SymbolFinder(text).symbols_in(root, (), in_function=False))


def enclosing_symbol(text: str, language: str, start: int, end: int | None = None) -> Symbol | None:
    """Return the innermost symbol around a cursor or selection.

    The whole lines of a symbol count, including its decorators.
    """
    end = start if end is None else end
    around = [
        symbol
        for symbol in find_symbols(text, language)
        if _line_start(text, symbol.start) <= start and end <= _line_end(text, symbol.end)
    ]
    return max(around, key=lambda symbol: symbol.start, default=None)


def _line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def _line_end(text: str, offset: int) -> int:
    line_end = text.find("\n", offset)
    return len(text) if line_end < 0 else line_end


class _SymbolFinder:
    """Finds the symbols in the syntax tree of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._bytes = text.encode("utf-8", "surrogatepass")
        self._is_ascii = len(self._bytes) == len(text)

    def symbols_in(
        self, node: tree_sitter.Node, parents: tuple[str, ...], *, in_function: bool
    ) -> Iterator[Symbol]:
        """Yield the symbols inside a node."""
        for child in node.named_children:
            inner, kind = _definition(child)
            if kind is None:
                inner_parents = (*parents, *self._impl_type(child))
                yield from self.symbols_in(child, inner_parents, in_function=in_function)
                continue
            symbol = self._symbol(child, inner, kind, parents, in_function)
            if symbol is None:
                yield from self.symbols_in(inner, parents, in_function=in_function)
                continue
            yield symbol
            is_inner_in_function = in_function or symbol.kind == "function"
            inner_parents = (*parents, symbol.name)
            yield from self.symbols_in(inner, inner_parents, in_function=is_inner_in_function)

    def _impl_type(self, node: tree_sitter.Node) -> tuple[str, ...]:
        """Return the name of the type that a Rust `impl` belongs to, nothing for other nodes."""
        if node.type not in _IMPL_NODES:
            return ()
        return (re.sub(r"<.*", "", self._text_of(node.child_by_field_name("type"))),)

    def _symbol(
        self,
        outer: tree_sitter.Node,
        inner: tree_sitter.Node,
        kind: SymbolKind,
        parents: tuple[str, ...],
        in_function: bool,
    ) -> Symbol | None:
        """Return the symbol of a definition `inner` with its wrappers `outer`, if it has a name."""
        name = self._name(inner)
        if not name:
            return None
        receiver = inner.child_by_field_name("receiver")
        if inner.type == "method_declaration" and receiver is not None:  # Go
            receiver_type = self._text_of(receiver).split()[-1]
            parents = (re.sub(r"[()*\s]|\[.*?\]|^.*\s", "", receiver_type),)
        value = inner.child_by_field_name("value")
        body = (value or inner).child_by_field_name("body") or _body(inner)
        start, end = self._offset(outer.start_byte), self._offset(outer.end_byte)
        before = self._text[_line_start(self._text, start) : start]
        return Symbol(
            kind=kind,
            name=name,
            parents=parents,
            start=start,
            end=end,
            body=self._offset(body.start_byte) if body is not None else end,
            text=self._text[start:end],
            indent=before if before.isspace() else before[: len(before) - len(before.lstrip())],
            in_function=in_function,
        )

    def _name(self, node: tree_sitter.Node) -> str:
        name = node.child_by_field_name("name")
        declarator = node.child_by_field_name("declarator")
        while name is None and declarator is not None:  # C: the innermost declarator has the name
            if declarator.type in _NAME_NODES or declarator.type == "qualified_identifier":
                name = declarator
            declarator = declarator.child_by_field_name("declarator")
        if name is None:
            name = next((child for child in node.named_children if child.type in _NAME_NODES), None)
        return self._text_of(name)

    def _text_of(self, node: tree_sitter.Node | None) -> str:
        if node is None:
            return ""
        return self._bytes[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def _offset(self, byte_offset: int) -> int:
        """Return the offset in code points of an offset in UTF-8 bytes."""
        if self._is_ascii:
            return byte_offset
        return len(self._bytes[:byte_offset].decode("utf-8", "surrogatepass"))


def _definition(node: tree_sitter.Node) -> tuple[tree_sitter.Node, SymbolKind | None]:
    """Return the definition inside a node and its wrappers, and its kind; None for other nodes."""
    inner = node
    while inner.type in _WRAPPERS:
        wrapped = inner.child_by_field_name("definition")
        wrapped = wrapped or inner.child_by_field_name("declaration")
        if wrapped is None:
            children = inner.named_children
            wrapped = next((child for child in children if _definition(child)[1]), None)
        if wrapped is None:
            return node, None
        inner = wrapped
    if inner.type in _FUNCTION_NODES:
        return inner, "function"
    if inner.type in _CLASS_NODES:
        return inner, "class"
    if inner.type in ("lexical_declaration", "variable_declaration"):
        for child in inner.named_children:
            value = child.child_by_field_name("value")
            is_function = value is not None and value.type in _FUNCTION_VALUES
            if child.type == "variable_declarator" and is_function:
                return child, "function"
    return node, None


def _body(node: tree_sitter.Node) -> tree_sitter.Node | None:
    return next((child for child in node.named_children if child.type in _BODY_NODES), None)

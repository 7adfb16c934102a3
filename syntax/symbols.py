"""Functions and classes of a source file, by tree-sitter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import tree_sitter

from syntax.grammars import grammar_name, parse

Kind = Literal["function", "class"]

_FUNCTIONS = {
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
_CLASSES = {
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
_HOLDERS = {"impl_item"}
"""What holds methods without being a symbol of its own."""
_VALUES = {"arrow_function", "function_expression", "function", "generator_function"}
_WRAPPERS = {"decorated_definition", "export_statement", "template_declaration"}
"""Nodes around a definition that belong to it."""
_NAME = {
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
    """A function or class; offsets are in code points of the file."""

    kind: Kind
    name: str
    parents: tuple[str, ...]
    """Names of the classes and functions around it, outermost first."""
    start: int
    """Where it begins, with its decorators."""
    end: int
    body: int
    """Where its body begins, behind the signature; `end` where it has none."""
    text: str
    indent: str
    """White space before its first line."""
    in_function: bool = False
    """Whether a function is among what is around it: then nobody else can call it."""

    @property
    def dedented(self) -> str:
        """The text without the indentation around it."""
        lines = self.text.split("\n")
        cut = len(self.indent)
        rest = [line[cut:] if line[:cut].isspace() else line for line in lines[1:]]
        return "\n".join([lines[0], *rest])


def find_symbols(text: str, language: str) -> list[Symbol]:
    """Return the symbols of a file in order, outer before inner; empty without a grammar."""
    root = parse(text, language)
    if root is None or grammar_name(language) in ("json", "yaml", "toml", "html", "css", "sql"):
        return []
    return list(_Reader(text).within(root, (), in_function=False))


def enclosing_symbol(text: str, language: str, start: int, end: int | None = None) -> Symbol | None:
    """Return the innermost symbol around a cursor or selection, decorators included."""
    end = start if end is None else end
    around = [one for one in find_symbols(text, language) if _line_start(text, one) <= start]
    around = [one for one in around if end <= _line_end(text, one)]
    return max(around, key=lambda one: one.start, default=None)


def _line_start(text: str, symbol: Symbol) -> int:
    return text.rfind("\n", 0, symbol.start) + 1


def _line_end(text: str, symbol: Symbol) -> int:
    found = text.find("\n", symbol.end)
    return len(text) if found < 0 else found


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._bytes = text.encode("utf-8", "surrogatepass")
        self._ascii = len(self._bytes) == len(text)

    def _at(self, byte: int) -> int:
        if self._ascii:
            return byte
        return len(self._bytes[:byte].decode("utf-8", "surrogatepass"))

    def within(
        self, node: tree_sitter.Node, parents: tuple[str, ...], *, in_function: bool
    ) -> Iterator[Symbol]:
        for child in node.named_children:
            inner, defined = _definition(child)
            if defined is None:
                yield from self._passed_through(child, parents, in_function)
                continue
            found = self._symbol(child, inner, defined, parents, in_function)
            if found is not None:
                yield found
                deeper = in_function or found.kind == "function"
                yield from self.within(inner, (*parents, found.name), in_function=deeper)
            else:
                yield from self.within(inner, parents, in_function=in_function)

    def _passed_through(
        self, node: tree_sitter.Node, parents: tuple[str, ...], in_function: bool
    ) -> Iterator[Symbol]:
        if node.type in _HOLDERS:
            held = node.child_by_field_name("type")
            name = self._text_of(held) if held is not None else ""
            parents = (*parents, re.sub(r"<.*", "", name))
        yield from self.within(node, parents, in_function=in_function)

    def _symbol(
        self,
        outer: tree_sitter.Node,
        inner: tree_sitter.Node,
        kind: Kind,
        parents: tuple[str, ...],
        in_function: bool,
    ) -> Symbol | None:
        name = self._name(inner)
        if not name:
            return None
        if inner.type == "method_declaration" and grammar_receiver(inner) is not None:
            receiver = self._text_of(grammar_receiver(inner))
            parents = (re.sub(r"[()*\s]|\[.*?\]|^.*\s", "", receiver.split()[-1]),)
        value = inner.child_by_field_name("value")
        body = (value or inner).child_by_field_name("body") or _body(inner)
        start, end = self._at(outer.start_byte), self._at(outer.end_byte)
        line = self._text.rfind("\n", 0, start) + 1
        before = self._text[line:start]
        return Symbol(
            kind=kind,
            name=name,
            parents=parents,
            start=start,
            end=end,
            body=self._at(body.start_byte) if body is not None else end,
            text=self._text[start:end],
            indent=before if before.isspace() else before[: len(before) - len(before.lstrip())],
            in_function=in_function,
        )

    def _name(self, node: tree_sitter.Node) -> str:
        named = node.child_by_field_name("name")
        declarator = node.child_by_field_name("declarator")
        while named is None and declarator is not None:  # C: the name is at the bottom
            if declarator.type in _NAME or declarator.type == "qualified_identifier":
                named = declarator
            declarator = declarator.child_by_field_name("declarator")
        if named is None:
            named = next((one for one in node.named_children if one.type in _NAME), None)
        return "" if named is None else self._text_of(named)

    def _text_of(self, node: tree_sitter.Node | None) -> str:
        if node is None:
            return ""
        return self._bytes[node.start_byte : node.end_byte].decode("utf-8", "replace")


def grammar_receiver(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the receiver of a Go method, None elsewhere."""
    return node.child_by_field_name("receiver")


def _definition(node: tree_sitter.Node) -> tuple[tree_sitter.Node, Kind | None]:
    """Return the definition in a node that may wrap it, and of what kind it is."""
    inner = node
    while inner.type in _WRAPPERS:
        held = inner.child_by_field_name("definition") or inner.child_by_field_name("declaration")
        if held is None:
            held = next((one for one in inner.named_children if _definition(one)[1]), None)
        if held is None:
            return node, None
        inner = held
    if inner.type in _FUNCTIONS:
        return inner, "function"
    if inner.type in _CLASSES:
        return inner, "class"
    if inner.type in ("lexical_declaration", "variable_declaration"):
        for one in inner.named_children:
            value = one.child_by_field_name("value")
            if one.type == "variable_declarator" and value is not None and value.type in _VALUES:
                return one, "function"
    return node, None


def _body(node: tree_sitter.Node) -> tree_sitter.Node | None:
    kinds = ("function_body", "block", "class_body", "body_statement", "compound_statement")
    return next((one for one in node.named_children if one.type in kinds), None)

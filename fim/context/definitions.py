"""What a file defines for others, as short as one needs to use it; and what a file imports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter

from syntax.grammars import parse

_MOST_LINES = 12
_WHOLE_LINES = 4
"""A definition no longer than this is shown whole."""
_WRAPPERS = ("export_statement", "decorated_definition", "export", "declaration_list", "program")
_IMPORTS = re.compile("import|use_declaration|using_directive|preproc_include|require")
_NAMES = ("identifier", "type_identifier", "namespace_identifier", "property_identifier")
_DOCSTRING = re.compile(r"""\s*[rRuU]?(?:\"{3}|'{3}|"|')(?P<line>[^\n"']+)""")


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, class, type or constant at the top of a file."""

    name: str
    text: str
    """Its signature; of a class, those of its methods too."""


def definitions(text: str, language: str) -> list[Definition]:
    """Return what a file defines at its top, in order; nothing for a language without grammar."""
    root = parse(text, language)
    if root is None:
        return []
    source = text.encode("utf-8", "surrogatepass")
    return [
        Definition(name, shown)
        for node in _top(root)
        if not _IMPORTS.search(node.type)
        for name in _names_of(node)
        if (shown := _shown(node, source))
    ]


def imported(text: str, language: str) -> frozenset[str]:
    """Return the names that a file's imports mention: modules and what is taken of them."""
    root = parse(text, language)
    if root is None:
        return frozenset()
    names: set[str] = set()
    for node in root.children:
        if _IMPORTS.search(node.type):
            names.update(_identifiers(node))
    return frozenset(names)


def _top(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    for child in node.named_children:
        if child.type in _WRAPPERS:
            yield from _top(child)
        else:
            yield child


def _names_of(node: tree_sitter.Node) -> list[str]:
    if (name := node.child_by_field_name("name")) is not None:
        return [_text(name)]
    if node.type == "function_definition":  # C: the name is within the declarator
        declarator = node.child_by_field_name("declarator")
        return list(_identifiers(declarator))[:1] if declarator is not None else []
    inner = [child.child_by_field_name("name") for child in node.named_children]
    found = [_text(name) for name in inner if name is not None]
    if found or node.type != "expression_statement":
        return found
    assigned = node.named_children[0].child_by_field_name("left") if node.named_children else None
    return [_text(assigned)] if assigned is not None and assigned.type == "identifier" else []


def _shown(node: tree_sitter.Node, source: bytes) -> str:
    rows = node.end_point.row - node.start_point.row + 1
    whole = source[node.start_byte : node.end_byte].decode("utf-8", "replace")
    body = node.child_by_field_name("body")
    if rows <= _WHOLE_LINES:
        return whole
    if body is None:
        return "\n".join(whole.split("\n")[:_WHOLE_LINES])
    lines = [_signature(node, body, source)]
    for member in _top(body):
        inner = member.child_by_field_name("body")
        named = member.child_by_field_name("name") is not None
        if named and inner is not None and len(lines) < _MOST_LINES:
            indent = " " * member.start_point.column
            lines.append(indent + _signature(member, inner, source))
    return "\n".join(lines)


def _signature(node: tree_sitter.Node, body: tree_sitter.Node, source: bytes) -> str:
    """Return a definition up to its body; in Python with the first line of its docstring."""
    head = source[node.start_byte : body.start_byte].decode("utf-8", "replace").rstrip()
    begun = source[body.start_byte : body.end_byte].decode("utf-8", "replace")
    if head.endswith(":") and (found := _DOCSTRING.match(begun)):
        return f"{head}  # {found['line'].strip()}"
    return head


def _identifiers(node: tree_sitter.Node) -> Iterator[str]:
    waiting = [node]
    while waiting:
        one = waiting.pop(0)
        if one.type in _NAMES:
            yield _text(one)
        waiting = [*one.children, *waiting]


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")

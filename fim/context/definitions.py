"""Names that a file defines and imports, according to the grammar of its language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter

from syntax.grammars import parse
from syntax.walk import nodes

_MAX_LINES = 12
_MAX_WHOLE_LINES = 4
"""Maximum number of lines of a definition that is shown whole."""
_MAX_IMPORT_CHARACTERS = 50_000
"""Maximum characters at the beginning of a file in which its imports are."""
_WRAPPERS = ("export_statement", "decorated_definition", "export", "declaration_list", "program")
_IMPORTS = re.compile("import|use_declaration|using_directive|preproc_include|require")
_NAMES = ("identifier", "type_identifier", "namespace_identifier", "property_identifier")
_DOCSTRING = re.compile(r"""\s*[rRuU]?(?:\"{3}|'{3}|"|')(?P<line>[^\n"']+)""")


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, class, type or constant at the top level of a file."""

    name: str
    text: str
    """The signature of the definition; for a class, with the signatures of its methods."""


def definitions(text: str, language: str) -> list[Definition]:
    """Return the top-level definitions of a file in order; empty without a grammar."""
    root = parse(text, language)
    if root is None:
        return []
    source = text.encode("utf-8", "surrogatepass")
    return [
        Definition(name, summary)
        for node in _top_level(root)
        if not _IMPORTS.search(node.type)
        for name in _names_of(node)
        if (summary := _summary(node, source))
    ]


def imported(text: str, language: str) -> frozenset[str]:
    """Return the names in the imports of a file: modules, and names imported from them."""
    root = parse(text[:_MAX_IMPORT_CHARACTERS], language)
    if root is None:
        return frozenset()
    names: set[str] = set()
    for node in root.children:
        if _IMPORTS.search(node.type):
            names.update(_identifiers(node))
    return frozenset(names)


def _top_level(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    pending = root.named_children[::-1]
    while pending:
        node = pending.pop()
        if node.type in _WRAPPERS:
            pending += reversed(node.named_children)
        else:
            yield node


def _names_of(node: tree_sitter.Node) -> list[str]:
    if (name := node.child_by_field_name("name")) is not None:
        return [_text(name)]
    if node.type == "function_definition":  # C: the name is within the declarator
        declarator = node.child_by_field_name("declarator")
        return list(_identifiers(declarator))[:1] if declarator is not None else []
    inner = [child.child_by_field_name("name") for child in node.named_children]
    names = [_text(name) for name in inner if name is not None]
    if names or node.type != "expression_statement":
        return names
    assigned = node.named_children[0].child_by_field_name("left") if node.named_children else None
    return [_text(assigned)] if assigned is not None and assigned.type == "identifier" else []


def _summary(node: tree_sitter.Node, source: bytes) -> str:
    """Return a short definition whole, otherwise its signature and those of its members."""
    num_lines = node.end_point.row - node.start_point.row + 1
    whole = source[node.start_byte : node.end_byte].decode("utf-8", "replace")
    body = node.child_by_field_name("body")
    if num_lines <= _MAX_WHOLE_LINES:
        return whole
    if body is None:
        return "\n".join(whole.split("\n")[:_MAX_WHOLE_LINES])
    lines = [_signature(node, body, source)]
    for member in _top_level(body):
        inner = member.child_by_field_name("body")
        has_name = member.child_by_field_name("name") is not None
        if has_name and inner is not None and len(lines) < _MAX_LINES:
            indent = " " * member.start_point.column
            lines.append(indent + _signature(member, inner, source))
    return "\n".join(lines)


def _signature(node: tree_sitter.Node, body: tree_sitter.Node, source: bytes) -> str:
    """Return a definition up to its body; in Python with the first line of its docstring."""
    head = source[node.start_byte : body.start_byte].decode("utf-8", "replace").rstrip()
    body_text = source[body.start_byte : body.end_byte].decode("utf-8", "replace")
    if head.endswith(":") and (match := _DOCSTRING.match(body_text)):
        return f"{head}  # {match['line'].strip()}"
    return head


def _identifiers(node: tree_sitter.Node) -> Iterator[str]:
    return (_text(inner) for inner in nodes(node) if inner.type in _NAMES)


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")

"""Nodes of syntax trees that define functions and classes, their names and their bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import tree_sitter

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
    "abstract_class_declaration",
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
_FUNCTION_VALUES = {"arrow_function", "function_expression", "function", "generator_function"}
"""Values that make a variable a function (JavaScript)."""
_VARIABLES = {"lexical_declaration", "variable_declaration"}
_WRAPPERS = {"decorated_definition", "export_statement", "template_declaration"}
"""Nodes around a definition that belong to it."""
_ATTRIBUTES = {"attribute_item", "decorator"}
"""Nodes before a definition that belong to it (Rust, methods in TypeScript)."""
_BODY_NODES = {"function_body", "block", "class_body", "body_statement", "compound_statement"}
NAME_NODES = {
    "identifier",
    "property_identifier",
    "private_property_identifier",
    "type_identifier",
    "field_identifier",
    "constant",
    "simple_identifier",
    "word",
    "name",
}


def definition(node: tree_sitter.Node) -> tuple[tree_sitter.Node, SymbolKind | None]:
    """Return the definition inside a node and its wrappers, and its kind.

    For other nodes, the kind is None, and the node is the innermost one that was looked at. Only
    what is inside of it is unknown then, so that wrappers are not looked at again and again.
    """
    inner = node
    while inner.type in _WRAPPERS:
        wrapped = inner.child_by_field_name("definition")
        wrapped = wrapped or inner.child_by_field_name("declaration")
        if wrapped is None:
            candidates = (
                child
                for child in inner.named_children
                if child.type in _WRAPPERS or _unwrapped(child)[1]
            )
            wrapped = next(candidates, None)
        if wrapped is None:
            return inner, None
        inner = wrapped
    return _unwrapped(inner)


def _unwrapped(node: tree_sitter.Node) -> tuple[tree_sitter.Node, SymbolKind | None]:
    """Return the definition that a node is or that it declares, and its kind."""
    if node.type in _FUNCTION_NODES:
        return node, "function"
    if node.type in _CLASS_NODES:
        return node, "class"
    if node.type in _VARIABLES:
        for child in node.named_children:
            value = child.child_by_field_name("value")
            is_function = value is not None and value.type in _FUNCTION_VALUES
            if child.type == "variable_declarator" and is_function:
                return child, "function"
    return node, None


def children_with_heads(
    node: tree_sitter.Node,
) -> Iterator[tuple[tree_sitter.Node, tree_sitter.Node]]:
    """Yield the named children of a node, each with its first attribute, or itself without any."""
    head: tree_sitter.Node | None = None
    for child in node.named_children:
        if is_attribute(child):
            head = head or child
            yield child, child
        elif not is_comment(child):
            yield child, head or child
            head = None


def is_attribute(node: tree_sitter.Node) -> bool:
    """Whether a node belongs to the definition after it."""
    return node.type in _ATTRIBUTES


def is_comment(node: tree_sitter.Node) -> bool:
    """Whether a node is a comment."""
    return "comment" in node.type


def body_of(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the body of a definition, None if it has none."""
    value = node.child_by_field_name("value")
    body = (value or node).child_by_field_name("body")
    if body is not None:
        return body
    return next((child for child in node.named_children if child.type in _BODY_NODES), None)


def name_node(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the name of a definition, None if it has none."""
    name = node.child_by_field_name("name")
    declarator = node.child_by_field_name("declarator")
    while name is None and declarator is not None:  # C: the innermost declarator has the name
        if declarator.type in NAME_NODES or declarator.type == "qualified_identifier":
            name = declarator
        declarator = declarator.child_by_field_name("declarator")
    if name is None:
        name = next((child for child in node.named_children if child.type in NAME_NODES), None)
    return name

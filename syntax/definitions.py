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
    "init_declaration",
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
    "struct_declaration",
    "trait_declaration",
    "protocol_declaration",
    "annotation_type_declaration",
    "union_item",
    "type_spec",
}
_FUNCTION_VALUES = {"arrow_function", "function_expression", "function", "generator_function"}
"""Values that make a variable a function (JavaScript)."""
_FIELDS = {"field_definition", "public_field_definition"}
_VARIABLES = {"lexical_declaration", "variable_declaration"}
_SIGNATURES = {"function_signature", "method_signature"}
"""Declarations before a definition that overload it (TypeScript)."""
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
_NAMES_IN_CPP = {"qualified_identifier", "destructor_name", "operator_name"}


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
    if node.type in _FIELDS and _is_function_value(node.child_by_field_name("value")):
        return node, "function"
    if node.type == "property_declaration" and node.child_by_field_name("accessors"):  # C#
        return node, "function"
    if node.type in _VARIABLES:
        for child in node.named_children:
            is_function = _is_function_value(child.child_by_field_name("value"))
            if child.type == "variable_declarator" and is_function:
                return child, "function"
    if node.type == "type_declaration" and node.child_count == 2:  # Go; more with brackets
        specification = node.named_children[0] if node.named_children else node
        return specification, "class" if specification.type in _CLASS_NODES else None
    if node.type == "call":  # Ruby: `private def f`
        arguments = node.child_by_field_name("arguments")
        if arguments is not None and arguments.named_child_count == 1:
            (argument,) = arguments.named_children
            if argument.type in ("method", "singleton_method"):
                return argument, "function"
    return node, None


def _is_function_value(value: tree_sitter.Node | None) -> bool:
    return value is not None and value.type in _FUNCTION_VALUES


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


def overloaded_name(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the name in a signature that overloads the definition after it, else None."""
    inner = node.child_by_field_name("declaration") if node.type == "export_statement" else node
    return None if inner is None or inner.type not in _SIGNATURES else name_node(inner)


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
        if declarator.type in NAME_NODES or declarator.type in _NAMES_IN_CPP:
            name = declarator
        declarator = declarator.child_by_field_name("declarator")
    if name is None:
        name = next((child for child in node.named_children if child.type in NAME_NODES), None)
    return name

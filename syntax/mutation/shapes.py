"""The parts of expressions and statements, whatever the grammar calls them."""

from __future__ import annotations

import tree_sitter

from syntax.definitions import is_comment
from syntax.mutation.tables import BINARY, CONDITIONALS, NEVER


def without_parentheses(node: tree_sitter.Node) -> tree_sitter.Node:
    """Return the expression inside of all parentheses."""
    while node.type == "parenthesized_expression" and node.named_child_count == 1:
        (node,) = node.named_children
    return node


def is_addition(node: tree_sitter.Node) -> bool:
    """Whether a node adds two values."""
    operator = node.child_by_field_name("operator") if node.type in BINARY else None
    return operator is not None and operator.type == "+"


def condition_of(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the condition of an `if`, a loop or a conditional expression."""
    if node.type not in CONDITIONALS:
        return None
    condition = node.child_by_field_name("condition")
    if condition is not None or node.type == "match_pattern":
        return condition if condition is not None and condition.is_named else None
    expressions = [child for child in node.named_children if not is_comment(child)]
    if node.type == "conditional_expression":
        return expressions[1] if len(expressions) == 3 else None
    is_loop_of_go = node.type == "for_statement" and node.child_count == 3
    if not expressions or not (node.type == "if_clause" or is_loop_of_go):
        return None
    return None if expressions[0].type.endswith("_clause") else expressions[0]


def is_mutable(node: tree_sitter.Node, grammar: str) -> bool:
    """Whether something inside a node may be mutated."""
    kind = node.type
    if kind in NEVER or kind.endswith("_type") or is_comment(node):
        return False
    return not (grammar == "java" and kind == "switch_label")

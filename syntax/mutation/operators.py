"""Mutations of operators and conditions."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace

import tree_sitter

from syntax.mutation.context import COMPILED, Context
from syntax.mutation.edits import Edit, Editor, Kind, short
from syntax.mutation.numbers import Numbers, short_text_of
from syntax.mutation.results import is_equality
from syntax.mutation.shapes import is_addition, without_parentheses
from syntax.mutation.tables import (
    ARITHMETIC,
    ASSIGNMENTS,
    ATOMS,
    BINARY,
    BOOLEANS,
    COMPARISONS,
    EQUALITIES,
    LOGIC,
    SEQUENCES,
    STEPS,
    TEXTS,
    TYPED_ARITHMETIC,
    WITHOUT_EFFECT,
)
from syntax.walk import nodes

_BINDINGS = frozenset({"let_condition", "let_chain"})
"""Conditions of Rust that give names to values."""
_CALLS_WITH_TEXT = frozenset({"str", "repr", "String", "format", "join"})


class Operators:
    """Finds mutations of operators in one text."""

    def __init__(self, root: tree_sitter.Node, grammar: str, editor: Editor) -> None:
        self._grammar, self._editor = grammar, editor
        self._is_compiled = grammar in COMPILED
        self._numbers = Numbers()
        self._bindings = (
            [each.start_byte for each in nodes(root) if _binds(each)] if grammar == "java" else []
        )
        """Where expressions of Java give values to names, in the order of the text."""

    def look_at(self, root: tree_sitter.Node, start: int, end: int) -> None:
        """Read which names are numbers between two offsets in bytes."""
        if self._is_compiled:
            self._numbers.read(root, start, end)

    def negated(self, condition: tree_sitter.Node, kind: Kind, branch: int) -> Iterator[Edit]:
        """Yield the negation of a condition or a result, unless another mutation does the same."""
        inner = without_parentheses(condition)
        if inner.type in BOOLEANS | _BINDINGS or is_equality(inner) or self._has_binding(inner):
            return
        text, operand = self._editor.text(inner), _operand_of_not(inner)
        if operand is not None:
            changed = self._editor.text(operand)
        else:
            changed = text if inner.type in ATOMS else f"({text})"
            changed = f"not {changed}" if self._grammar == "python" else f"!{changed}"
        name = "condition" if kind == "condition" else "return value"
        description = f"{name} {short(text)} was negated"
        yield from self._editor.edit(inner, changed, kind, branch, description)

    def operation(self, node: tree_sitter.Node, context: Context) -> Iterator[Edit]:
        """Yield the mutations of comparisons, of `and` and `or`, and of arithmetic operators."""
        for operator in node.children:
            name = operator.type
            if operator.is_named or (node.type in BINARY and name.isalpha()):
                continue
            other, kind = self._other(node, name, context)
            if other:
                yield from self._editor.replaced(operator, other, kind, context.branch)

    def assignment(self, node: tree_sitter.Node, context: Context) -> Iterator[Edit]:
        """Yield the mutations of `+=`, `++` and their relatives."""
        operator = next((child for child in node.children if not child.is_named), None)
        if operator is None or context.is_in_header:
            return
        name = operator.type
        other = STEPS.get(name) or ASSIGNMENTS.get(name)
        if name == "+=":
            other = self._other_addition(node)
        if other:
            yield from self._editor.replaced(operator, other, "assignment", context.branch)

    def with_sum(self, node: tree_sitter.Node, context: Context) -> Context:
        """Return the context of a sum, with what all its operands are."""
        operands, pending = [], [node]
        while pending:
            each = without_parentheses(pending.pop())
            if is_addition(each):
                sides = (each.child_by_field_name("left"), each.child_by_field_name("right"))
                pending += [side for side in sides if side is not None]
            else:
                operands.append(each)
        if any(_is_text(operand) for operand in operands):
            return replace(context, added="texts")
        are_numbers = (self._numbers.has(operand) for operand in operands)
        is_sum = all(are_numbers) if self._grammar == "java" else any(are_numbers)
        return replace(context, added="numbers" if is_sum else "unknown")

    def _other(self, node: tree_sitter.Node, name: str, context: Context) -> tuple[str, Kind]:
        """Return what replaces an operator, nothing if nothing can, and its kind."""
        if name in LOGIC:
            return "" if self._has_binding(node) else LOGIC[name], "logic"
        if name in COMPARISONS:
            return "" if _is_choice(node, name, context) else COMPARISONS[name], "comparison"
        if name not in ARITHMETIC or not self._is_arithmetic(node, name, context):
            return "", "arithmetic"
        table = TYPED_ARITHMETIC if self._is_compiled else ARITHMETIC
        right = short_text_of(node.child_by_field_name("right"))
        return WITHOUT_EFFECT.get(right, {}).get(name, table[name]), "arithmetic"

    def _is_arithmetic(self, node: tree_sitter.Node, operator: str, context: Context) -> bool:
        """Whether an operator works on numbers, if that can be seen."""
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return False
        if operator == "+":
            is_possible = context.added == "unknown" and not self._is_compiled
            return is_possible or context.added == "numbers"
        if self._numbers.excludes(left) or self._numbers.excludes(right):
            return False  # sets, for example
        others = TEXTS | SEQUENCES
        return left.type not in others and right.type not in others | {"dictionary"}

    def _other_addition(self, node: tree_sitter.Node) -> str:
        """Return what replaces `+=`, nothing if a compiler would refuse all other operators."""
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        is_number = self._numbers.has(left)
        if self._grammar == "java":
            return "-=" if is_number else ""
        is_number = is_number or self._numbers.has(right)
        return "-=" if is_number else "" if self._grammar == "rust" else "="

    def _has_binding(self, node: tree_sitter.Node) -> bool:
        """Whether an expression gives values to names that other code needs (Java)."""
        index = bisect_left(self._bindings, node.start_byte)
        return index < len(self._bindings) and self._bindings[index] < node.end_byte


def _binds(node: tree_sitter.Node) -> bool:
    if node.type == "instanceof_expression":
        fields = (node.child_by_field_name("name"), node.child_by_field_name("pattern"))
        return any(field is not None for field in fields)
    return node.type == "assignment_expression"


def _operand_of_not(node: tree_sitter.Node) -> tree_sitter.Node | None:
    is_not = node.type in ("not_operator", "unary_expression") and node.named_child_count == 1
    return node.named_children[0] if is_not and node.children[0].type in ("not", "!") else None


def _is_choice(node: tree_sitter.Node, operator: str, context: Context) -> bool:
    """Whether it does not matter for a comparison if both values are equal."""
    if operator in EQUALITIES or not context.choice or node.named_child_count != 2:
        return False
    texts = {re.sub(r"[\s()]", "", short_text_of(each)) for each in node.named_children}
    return texts == context.choice


def _is_text(node: tree_sitter.Node) -> bool:
    """Whether an operand of a sum is certainly no number."""
    left = node.child_by_field_name("left") if node.type in BINARY else None
    if node.type in TEXTS | SEQUENCES or (left is not None and left.type in TEXTS | SEQUENCES):
        return True
    function = node.child_by_field_name("function")
    return short_text_of(function).rpartition(".")[2] in _CALLS_WITH_TEXT

"""What is around a node of a syntax tree, if it decides how the node can be mutated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import tree_sitter

from syntax.definitions import is_comment
from syntax.mutation.numbers import short_text_of, text_of
from syntax.mutation.results import result_types
from syntax.mutation.shapes import condition_of, is_addition, without_parentheses
from syntax.mutation.tables import (
    BOOLEANS,
    BRANCHES,
    CALLS,
    FUNCTIONS,
    IMPORTERS,
    LOOPS,
    MACROS_WITH_TEXT,
    NUMBERS,
    SWITCHES,
    TEXTS,
)

Grammar = Literal["python", "javascript", "typescript", "go", "rust", "java"]
COMPILED = frozenset({"go", "rust", "java"})
"""Grammars of languages in which a mutation must have the right type."""

_INDEXED = frozenset({"index_expression", "slice_expression"})
_LOGICAL = frozenset(
    {"boolean_operator", "binary_expression", "parenthesized_expression", "not_operator"}
)
_TRIES = frozenset({"try_statement", "try_with_resources_statement"})
_PLACEHOLDERS = frozenset({"interpolation", "template_substitution"})
_ALL_TAILS = frozenset({"else_clause", "match_block", "unsafe_block"})
"""Nodes of Rust all of whose children can be results, if they are."""
_NOT_FOR_MUTATION = re.compile(rb"__name__|TYPE_CHECKING")
_LOOK_AHEAD_BYTES = 200


@dataclass(frozen=True, slots=True)
class Context:
    """What is around a node."""

    branch: int = 0
    """Where the innermost branch begins, in bytes."""
    around: Literal["nothing", "loop", "endless loop", "switch"] = "nothing"
    """What `break` would leave."""
    results: tuple[str, ...] = ()
    """The types of the results of the function, in languages that need them."""
    checked: str = ""
    """The condition of the innermost `if`."""
    choice: frozenset[str] = frozenset()
    """Two values of which a condition chooses one, so that it does not matter if they are equal."""
    added: Literal["", "numbers", "texts", "unknown"] = ""
    """What the sum adds of which the node is an operand."""
    is_tail: bool = False
    """Whether the node is a result without `return` (Rust)."""
    is_in_try: bool = False
    is_in_header: bool = False
    """Whether the node is the part of a `for` that changes its variable."""
    is_index: bool = False
    is_in_text: bool = False
    is_alone: bool = False
    """Whether the node is the only statement of its branch (Rust)."""


class Surroundings:
    """Finds the nodes inside other nodes and what is around them, in one language."""

    def __init__(self, grammar: str, source: bytes) -> None:
        self._grammar, self._source = grammar, source

    def inside(
        self, node: tree_sitter.Node, context: Context
    ) -> Iterator[tuple[tree_sitter.Node, Context]]:
        """Yield the children of a node in which something may be mutated."""
        children = self._visible(node)
        if not children:
            return
        general = self._general(node, context)
        condition = condition_of(node)
        step = node.child_by_field_name("increment") or node.child_by_field_name("update")
        has_result = context.is_tail or node.type == "function_item"
        tails = self._tails(node, children) if has_result else ()
        for child in children:
            inner = general
            if child == condition:
                inner = replace(general, choice=self._choice(node, condition))
            elif condition is not None:
                inner = replace(general, branch=child.start_byte, checked=short_text_of(condition))
            if child == step:
                inner = replace(inner, is_in_header=True)
            if child.id in tails:
                inner = replace(inner, is_tail=True)
            yield child, inner

    def _general(self, node: tree_sitter.Node, context: Context) -> Context:
        """Return what is around all children of a node."""
        kind = node.type
        is_sum = context.added and (kind == "parenthesized_expression" or is_addition(node))
        around = context.around
        if kind in LOOPS:
            around = "endless loop" if self._is_endless(node) else "loop"
        elif kind in SWITCHES:
            around = "switch"
        is_function = kind in FUNCTIONS
        results = () if is_function else context.results
        if is_function and self._grammar in COMPILED:
            results = result_types(node)
        only = kind == "match_arm" or (kind == "block" and node.named_child_count == 1)
        general = Context(
            branch=node.start_byte if kind in BRANCHES or is_function else context.branch,
            around="nothing" if is_function else around,
            results=results,
            checked="" if is_function else context.checked,
            choice=context.choice if kind in _LOGICAL else frozenset(),
            added=context.added if is_sum else "",
            is_in_try=not is_function and (context.is_in_try or kind in _TRIES),
            is_in_header=context.is_in_header and not is_function,
            is_index=kind in _INDEXED or (kind == "range_expression" and context.is_index),
            is_in_text=context.is_in_text or kind in _PLACEHOLDERS,
            is_alone=only or (kind == "expression_statement" and context.is_alone),
        )
        return context if general == context else general

    def _visible(self, node: tree_sitter.Node) -> list[tree_sitter.Node]:
        """Return the children of a node without those in which nothing may be mutated."""
        children = node.named_children
        if not children or (node.type == "expression_statement" and _is_text_only(node)):
            return []  # a docstring or a directive
        if node.type == "match_pattern":
            condition = node.child_by_field_name("condition")
            return [] if condition is None else [condition]
        if node.type == "macro_invocation":
            macro = text_of(node.child_by_field_name("macro"))
            return children if macro in MACROS_WITH_TEXT else []
        if node.type == "token_tree":
            return [child for child in children if child.type in TEXTS or child.type == node.type]
        hidden = {child.id for child in self._hidden(node)}
        return [child for child in children if child.id not in hidden] if hidden else children

    def _hidden(self, node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
        fields = {
            "array_expression": ("length",),
            "field_expression": ("field",),
            "export_statement": ("source",),
            "keyed_element": ("key",),
            "expression_case": ("value",),
        }.get(node.type, ())
        if self._grammar == "rust" and node.type != "match_arm":  # it may have a condition
            fields = (*fields, "pattern")
        if node.type in CALLS:
            arguments = node.child_by_field_name("arguments")
            is_tagged = arguments is not None and arguments.type == "template_string"
            if is_tagged or short_text_of(node.child_by_field_name("function")) in IMPORTERS:
                fields = (*fields, "arguments")
        for field in fields:
            yield from node.children_by_field_name(field)
        condition = condition_of(node)
        if condition is not None and self.is_fixed(node, condition):
            yield condition

    def is_fixed(self, node: tree_sitter.Node, condition: tree_sitter.Node) -> bool:
        """Whether a condition must stay: `while 1`, and what compilers or tools look at."""
        inner = without_parentheses(condition)
        first, last = condition.start_byte, condition.end_byte
        text = self._source[first : min(last, first + _LOOK_AHEAD_BYTES)]
        if inner.type in NUMBERS or _NOT_FOR_MUTATION.search(text):
            return True
        return self._grammar == "java" and node.type in LOOPS and inner.type in BOOLEANS

    def _is_endless(self, node: tree_sitter.Node) -> bool:
        if node.type == "loop_expression":
            return True
        clause = next((child for child in node.named_children if child.type == "for_clause"), node)
        if node.type == "for_statement" and clause == node and self._grammar == "go":
            return node.named_child_count == 1
        condition = condition_of(clause)
        if condition is None:
            return clause.type in {"for_statement", "for_clause"}
        return without_parentheses(condition).type == "true"

    def _choice(self, node: tree_sitter.Node, condition: tree_sitter.Node | None) -> frozenset[str]:
        """Return the two values between which a conditional chooses, nothing if it does more."""
        parts = [child for child in node.named_children if child != condition]
        texts = [re.sub(r"[\s{};()]", "", text_of(part)) for part in parts if _is_short(part)]
        if len(texts) == 1 and node.type.startswith("if"):
            texts = texts[0].split("=")
        return frozenset(texts) if len(texts) == 2 == len(set(texts)) else frozenset()

    def _tails(self, node: tree_sitter.Node, children: list[tree_sitter.Node]) -> set[int]:
        """Return the children that are results of a function in Rust."""
        if node.type == "block":
            last = [child for child in children if not is_comment(child)][-1:]
            return {child.id for child in last}
        is_without_semicolon = node.type == "expression_statement" and node.child_count == 1
        if node.type in _ALL_TAILS or is_without_semicolon:
            return {child.id for child in children}
        fields = {
            "function_item": ("body",),
            "if_expression": ("consequence", "alternative"),
            "match_expression": ("body",),
            "match_arm": ("value",),
        }.get(node.type, ())
        nodes = (node.child_by_field_name(field) for field in fields)
        return {child.id for child in nodes if child is not None}


def _is_short(node: tree_sitter.Node) -> bool:
    return node.end_byte - node.start_byte <= _LOOK_AHEAD_BYTES


def _is_text_only(node: tree_sitter.Node) -> bool:
    return node.named_child_count == 1 and node.named_children[0].type in TEXTS

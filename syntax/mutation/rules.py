"""All mutations of a part of a syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

import tree_sitter

from syntax.definitions import is_comment
from syntax.mutation.constants import changed_number, changed_text
from syntax.mutation.context import (
    COMPILED,
    Context,
    Surroundings,
)
from syntax.mutation.edits import Edit, Editor
from syntax.mutation.numbers import short_text_of
from syntax.mutation.operators import Operators
from syntax.mutation.results import compiled_result, returned
from syntax.mutation.shapes import condition_of, is_addition, is_mutable
from syntax.mutation.tables import (
    BINARY,
    BOOLEANS,
    CALLS,
    COMPOUND,
    EXTREMES,
    JUMP_NODES,
    JUMPS,
    NOTHING,
    NUMBERS,
    STRINGS,
    UPDATES,
)

_NOTHING = {"python": "None", "javascript": "null", "typescript": "null as any"}
_RETURNS = frozenset({"return_statement", "return_expression"})
_YIELDS = frozenset({"yield", "yield_expression"})
_SMALL_FUNCTIONS = frozenset({"lambda", "arrow_function"})
"""Functions whose body may be what they return."""
_OPERATIONS = BINARY | {"comparison_operator", "boolean_operator"}
_NO_RESULTS = re.compile(
    r".*_(?:statement|declaration|item)|return_expression|(?:loop|while|for)_expression"
    r"|block|(?:if|match)_expression|else_clause|match_(?:block|arm)|unsafe_block"
)
"""Nodes of Rust at the end of a function that are no results, or not as a whole."""
_SWAPPED = {"True": "False", "False": "True", "true": "false", "false": "true"}


class Rules:
    """Finds the mutations in one text."""

    def __init__(self, root: tree_sitter.Node, grammar: str, source: bytes) -> None:
        self._root, self._grammar, self._editor = root, grammar, Editor(source)
        self._is_compiled = grammar in COMPILED
        self._surroundings = Surroundings(grammar, source)
        self._operators = Operators(root, grammar, self._editor)

    def edits(self, start: int, end: int) -> Iterator[Edit]:
        """Yield the mutations between two offsets in bytes, in the order of the text."""
        self._operators.look_at(self._root, start, end)
        pending = [(self._root, Context())]
        while pending:
            node, context = pending.pop()
            is_outside = node.end_byte <= start or end <= node.start_byte
            if is_outside or not is_mutable(node, self._grammar):
                continue
            if is_addition(node) and not context.added:
                context = self._operators.with_sum(node, context)
            if start <= node.start_byte and node.end_byte <= end:
                yield from self._of_node(node, context)
            pending += reversed(list(self._surroundings.inside(node, context)))

    def _of_node(self, node: tree_sitter.Node, context: Context) -> Iterator[Edit]:
        """Yield the mutations of a node itself, not those of the nodes inside."""
        kind = node.type
        condition = condition_of(node)
        if condition is not None and not self._surroundings.is_fixed(node, condition):
            yield from self._operators.negated(condition, "condition", context.branch)
        if kind in NUMBERS or kind in STRINGS or kind in BOOLEANS:
            yield from self._constant(node, context)
        elif kind in _OPERATIONS:
            yield from self._operators.operation(node, context)
        elif kind in COMPOUND or kind in UPDATES:
            yield from self._operators.assignment(node, context)
        elif kind in JUMP_NODES:
            yield from self._jump(node, context)
        elif kind in CALLS:
            yield from self._call(node, context)
        elif kind in _RETURNS or kind in _YIELDS or kind in _SMALL_FUNCTIONS:
            yield from self._result(node, context)
        if context.is_tail and context.results and not _NO_RESULTS.fullmatch(kind):
            yield from self._compiled_result(node, context.results[0], context)

    def _constant(self, node: tree_sitter.Node, context: Context) -> Iterator[Edit]:
        if node.type in BOOLEANS:
            swapped = _SWAPPED.get(self._editor.text(node))
            if swapped is not None:
                yield from self._editor.replaced(node, swapped, "boolean", context.branch)
        elif node.type in NUMBERS:
            text, is_compiled = self._editor.text(node), self._is_compiled
            number = changed_number(text, is_index=context.is_index, is_compiled=is_compiled)
            if number is not None:
                yield from self._editor.replaced(node, number, "number", context.branch)
        elif not context.is_in_text:
            literal = changed_text(node, self._editor.source)
            if literal is not None:
                changed = literal.decode("utf-8", "surrogatepass")
                yield from self._editor.replaced(node, changed, "string", context.branch)

    def _jump(self, node: tree_sitter.Node, context: Context) -> Iterator[Edit]:
        if node.named_child_count or context.around in ("nothing", "switch"):
            return  # with a label or a value, or in a `switch`, only one of the two is possible
        word = node.children[0]
        is_endless = context.around == "endless loop" and self._is_compiled
        if is_endless and (word.type == "continue" or self._grammar == "java"):
            return  # the function would end without a result, or code would never run
        if self._grammar == "rust" and not context.is_alone:
            return  # a value that was moved may be used again
        yield from self._editor.replaced(word, JUMPS[word.type], "jump", context.branch)

    def _call(self, node: tree_sitter.Node, context: Context) -> Iterator[Edit]:
        """Yield the mutation of `min` and `max`."""
        function = node.child_by_field_name("function")
        name: tree_sitter.Node | None = None
        if self._grammar == "python":
            name = function if function is not None and function.type == "identifier" else None
        elif self._grammar == "rust":
            name = function.child_by_field_name("field") if function is not None else None
        else:
            owner = function or node
            if short_text_of(owner.child_by_field_name("object")) == "Math":
                name = owner.child_by_field_name("property") or owner.child_by_field_name("name")
        other = EXTREMES.get(short_text_of(name))
        if name is not None and other is not None:
            yield from self._editor.replaced(name, other, "call", context.branch)

    def _result(self, node: tree_sitter.Node, context: Context) -> Iterator[Edit]:
        """Yield the mutations of what a statement or a small function returns."""
        if self._is_compiled:
            results = list(returned(node))
            if len(results) == len(context.results):
                for result, kind in zip(results, context.results, strict=True):
                    yield from self._compiled_result(result, kind, context)
            return
        if any(child.type in ("from", "*") for child in node.children):
            return  # what another generator yields
        body = node.child_by_field_name("body")
        first = next((child for child in node.named_children if not is_comment(child)), None)
        value = body if node.type in _SMALL_FUNCTIONS else first
        if value is None or value.type in NOTHING | BOOLEANS | {"statement_block"}:
            return
        new = _NOTHING[self._grammar]
        word = "yielded" if node.type in _YIELDS else "return"
        description = f"{word} value became {new.partition(' ')[0]}"
        yield from self._editor.edit(value, new, "result", context.branch, description)

    def _compiled_result(
        self, value: tree_sitter.Node, kind: str, context: Context
    ) -> Iterator[Edit]:
        """Yield the mutation of a result that has the same type."""
        if kind in ("bool", "boolean"):
            yield from self._operators.negated(value, "result", context.branch)
            return
        change = compiled_result(
            value, kind, self._grammar, checked=context.checked, is_in_try=context.is_in_try
        )
        if change is not None:
            text, description = change
            yield from self._editor.edit(value, text, "result", context.branch, description)

"""Finds the assertions of a JavaScript test: what each one looks at, and what it expects."""

from __future__ import annotations

from dataclasses import dataclass

import tree_sitter

from chat.tasks.checking.javascript.calls import AssertingCall, Kind, find_call, text_of
from chat.tasks.checking.javascript.tests import FUNCTIONS, LANGUAGE, callback_of
from syntax.grammars import parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

SEEN = "__seen__"
"""The name of what an assertion has seen, in `Assertion.check`."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """A statement that asserts something. Offsets are code points in the text of the test."""

    start: int
    end: int
    indentation: str
    """The white space before the statement in its line."""
    is_statement: bool
    """Whether it is a statement, and not the body of an arrow function."""
    is_alone: bool
    """Whether there is nothing else in the lines of the statement."""
    kind: Kind
    method: str
    """`expect`, or the function of Node's module, such as `equal`."""
    module: str
    """The name of Node's module in the test, empty for `expect`."""
    actual: str
    """The expression that it looks at; for a function that should raise, what it calls."""
    observed: str
    """A function that returns it."""
    before: str
    """The text of the statement before `actual`."""
    after: str
    check: str
    """A function that raises an error if the assertion does not hold for its argument."""
    is_awaited: bool
    """Whether `actual` contains `await`."""
    resolves: bool
    """Whether it expects something from the value of a promise."""
    callback: int | None
    """Where `async` must be inserted so that it can wait, None if it cannot wait."""
    is_async: bool
    """Whether the function around it can wait already."""
    function: int
    """Where the function around it begins, -1 without one."""

    @property
    def can_wait(self) -> bool:
        """Whether it may contain `await`, perhaps after the function around it became async."""
        return self.is_async or self.callback is not None

    def with_actual(self, actual: str) -> str:
        """Return the statement with another expression that it looks at."""
        return self.before + actual + self.after


def find_assertions(text: str) -> list[Assertion]:
    """Return the assertions of a test in their order; none if it does not parse."""
    root = parse(text, LANGUAGE)
    if root is None or root.has_error:
        return []
    source = _Source(text)
    assertions = []
    covered = 0
    for node in nodes(root):
        if node.start_byte >= covered and (assertion := source.assertion(node)) is not None:
            assertions.append(assertion)
            covered = node.end_byte
    return sorted(assertions, key=lambda each: each.start)


class _Source:
    """The text of a test, and what its nodes mean."""

    def __init__(self, text: str) -> None:
        self._text, self._offsets = text, ByteOffsets(text)

    def assertion(self, node: tree_sitter.Node) -> Assertion | None:
        """Return the assertion that a statement, or the body of an arrow function, is."""
        parent = node.parent
        is_body = (
            parent is not None
            and parent.type == "arrow_function"
            and parent.child_by_field_name("body") == node
        )
        if node.type != "expression_statement" and not is_body:
            return None
        expression = node if is_body else node.named_children[0]
        if expression.type == "await_expression":
            expression = expression.named_children[0]
        call = find_call(expression)
        return None if call is None else self._assertion(node, expression, call)

    def _assertion(
        self, node: tree_sitter.Node, expression: tree_sitter.Node, call: AssertingCall
    ) -> Assertion | None:
        start, end = self._span(node)
        first, last = self._span(call.actual)
        actual, observed = self._actual(call)
        function, callback, is_async = self._function_around(node)
        check_start, check_end = self._span(expression)
        check = self._text[check_start:first] + SEEN + self._text[last:check_end]
        if call.resolves:
            check = check.replace(".resolves", "", 1)
        others = self._text[check_start:first] + self._text[last:check_end]
        word = "async " if "await " in others else ""
        line = self._text[:start].rpartition("\n")[2]
        rest = self._text[end:].partition("\n")[0]
        return Assertion(
            start=start,
            end=end,
            indentation=line if not line.strip() else "",
            is_statement=node.type == "expression_statement",
            is_alone=not line.strip() and not rest.strip() and node.type == "expression_statement",
            kind=call.kind,
            method=call.method,
            module=call.module,
            actual=actual,
            observed=observed,
            before=self._text[start:first],
            after=self._text[last:end],
            check=f"{word}({SEEN}) => ({check})",
            is_awaited=observed.startswith("async ") and "await " in actual,
            resolves=call.resolves,
            callback=callback,
            is_async=is_async,
            function=function,
        )

    def _actual(self, call: AssertingCall) -> tuple[str, str]:
        """Return the expression that an assertion looks at, and a function that returns it."""
        node, text = call.actual, text_of(call.actual)
        if node.type in FUNCTIONS and call.kind != "value":
            called = self._called(node)
            is_async = any(child.type == "async" for child in node.children)
            word = "async " if is_async else ""
            return called, f"{word}() => ({called})" if called else text
        if call.kind == "rejects":
            function = f"((each) => typeof each === 'function' ? each() : each)({text})"
            return text, f"() => {function}"
        if call.kind == "raises":
            return f"{text}()", text
        is_awaited = any(each.type == "await_expression" for each in _outside_functions(node))
        return text, f"{'async ' if is_awaited else ''}() => ({text})"

    def _called(self, function: tree_sitter.Node) -> str:
        """Return the expression that a function evaluates, empty if it does more."""
        body = function.child_by_field_name("body")
        if body is not None and body.type == "statement_block":
            statements = body.named_children
            is_single = len(statements) == 1 and statements[0].type in (
                "expression_statement",
                "return_statement",
            )
            body = (
                statements[0].named_children[0]
                if is_single and statements[0].named_children
                else None
            )
        return "" if body is None else text_of(body)

    def _function_around(self, node: tree_sitter.Node) -> tuple[int, int | None, bool]:
        """Return where a function begins, where it becomes async if it may, and whether it is."""
        function = node.parent
        while function is not None and function.type not in FUNCTIONS:
            function = function.parent
        if function is None:
            return -1, None, False
        start = self._span(function)[0]
        if any(child.type == "async" for child in function.children):
            return start, None, True
        call = function.parent.parent if function.parent is not None else None
        parameters = function.child_by_field_name("parameters")
        has_done = parameters is not None and "done" in text_of(parameters)
        if call is None or callback_of(call) != function or has_done:
            return start, None, False
        return start, start, False

    def _span(self, node: tree_sitter.Node) -> tuple[int, int]:
        to_characters = self._offsets.to_characters
        return to_characters(node.start_byte), to_characters(node.end_byte)


def _outside_functions(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    """Return a node and those in it, without those in functions."""
    outside, pending = [], [node]
    while pending:
        current = pending.pop()
        outside.append(current)
        pending += [each for each in current.named_children if each.type not in FUNCTIONS]
    return outside

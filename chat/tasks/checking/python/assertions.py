"""Finds the assertions of a Python test: what each one looks at, and what it expects."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_METHODS = {
    "assertEqual": "seen == ({})",
    "assertEquals": "seen == ({})",
    "assertListEqual": "seen == ({})",
    "assertTupleEqual": "seen == ({})",
    "assertDictEqual": "seen == ({})",
    "assertSetEqual": "seen == ({})",
    "assertMultiLineEqual": "seen == ({})",
    "assertCountEqual": "sorted(seen) == sorted({})",
    "assertNotEqual": "seen != ({})",
    "assertIs": "seen is ({})",
    "assertIsNot": "seen is not ({})",
    "assertIn": "seen in ({})",
    "assertNotIn": "seen not in ({})",
    "assertIsInstance": "isinstance(seen, ({}))",
    "assertGreater": "seen > ({})",
    "assertGreaterEqual": "seen >= ({})",
    "assertLess": "seen < ({})",
    "assertLessEqual": "seen <= ({})",
    "assertAlmostEqual": "round(abs(seen - ({})), 7) == 0",
    "assertTrue": "seen",
    "assertFalse": "not seen",
    "assertIsNone": "seen is None",
    "assertIsNotNone": "seen is not None",
}
"""The methods of unittest.TestCase, and what they check, with the second argument as `{}`."""
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_SYMMETRIC = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)


@dataclass(frozen=True, slots=True)
class Assertion:
    """A statement that asserts something. Offsets are code points in the text of the test."""

    start: int
    end: int
    column: int
    """Number of columns before the statement."""
    actual: str
    """The expression that it looks at."""
    check: str
    """An expression that is true if the assertion holds for the value `seen`."""
    before: str
    """The text of the statement before `actual`."""
    after: str
    """The text of the statement after `actual`."""
    exceptions: frozenset[str] = frozenset()
    """The names of the exceptions of which it expects one."""
    is_awaited: bool = False
    """Whether `actual` contains `await`."""

    def with_actual(self, actual: str) -> str:
        """Return the statement with another expression that it looks at."""
        return self.before + actual + self.after


def find_assertions(text: str) -> list[Assertion]:
    """Return the assertions of a test in their order; none if it does not parse."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    source = _Source(text)
    assertions = (source.assertion(node) for node in _statements(tree))
    return [assertion for assertion in assertions if assertion is not None]


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield all statements in their order, without the bodies of those that expect exceptions."""
    pending: list[ast.AST] = list(reversed(tree.body))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.stmt):
            yield node
            if isinstance(node, ast.With) and _exceptions_of(node) is not None:
                continue
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
            pending += reversed(list(ast.iter_child_nodes(node)))


def _exceptions_of(node: ast.With) -> ast.expr | None:
    """Return what `with pytest.raises(...)` expects, None for another statement."""
    call = node.items[0].context_expr
    if len(node.items) != 1 or not isinstance(call, ast.Call) or not call.args:
        return None
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    name = call.func.id if isinstance(call.func, ast.Name) else name
    return call.args[0] if name in ("raises", "assertRaises", "assertRaisesRegex") else None


class _Source:
    """The text of a test, and the offsets of its nodes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def assertion(self, node: ast.stmt) -> Assertion | None:
        """Return the assertion that a statement is, None if it is none that can be observed."""
        if isinstance(node, ast.Assert):
            return self._of_assert(node)
        if isinstance(node, ast.With):
            return self._of_raises(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            return self._of_method(node, node.value)
        return None

    def _of_assert(self, node: ast.Assert) -> Assertion:
        test = node.test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._make(node, test.operand, "not seen", ("assert not ", ""))
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return self._make(node, test, "seen", ("assert ", ""))
        actual, expected, operator = test.left, test.comparators[0], test.ops[0]
        if isinstance(operator, _SYMMETRIC) and _is_literal(actual) and not _is_literal(expected):
            actual, expected = expected, actual
        symbol, other = _OPERATORS[type(operator)], self._source(expected)
        around = ("assert ", f" {symbol} {other}")
        return self._make(node, actual, f"seen {symbol} ({other})", around)

    def _of_method(self, node: ast.stmt, call: ast.Call) -> Assertion | None:
        function = call.func
        if not isinstance(function, ast.Attribute) or function.attr not in _METHODS:
            return None
        if not call.args or any(isinstance(each, ast.Starred) for each in call.args):
            return None
        check, others = _METHODS[function.attr], list(call.args)
        actual = others.pop(0)
        if "{}" in check:
            if not others:
                return None
            if "==" in check and _is_literal(actual) and not _is_literal(others[0]):
                actual, others[0] = others[0], actual
            check = check.format(self._source(others[0]))
        rest = "".join(f", {self._source(each)}" for each in others)
        return self._make(node, actual, check, (f"self.{function.attr}(", f"{rest})"))

    def _of_raises(self, node: ast.With) -> Assertion | None:
        expected = _exceptions_of(node)
        if expected is None or len(node.body) != 1:
            return None
        statement = node.body[0]
        if not isinstance(statement, ast.Expr | ast.Assign):
            return None
        exceptions = frozenset(re.findall(r"\w+", self._source(expected)))
        head = self._text[self._span(node)[0] : self._span(statement)[0]]
        return self._make(node, statement.value, "False", (head, ""), exceptions)

    def _make(
        self,
        node: ast.stmt,
        actual: ast.expr,
        check: str,
        around: tuple[str, str],
        exceptions: frozenset[str] = frozenset(),
    ) -> Assertion:
        start, end = self._span(node)
        is_awaited = any(isinstance(inner, ast.Await) for inner in ast.walk(actual))
        source, column = self._source(actual), node.col_offset
        return Assertion(start, end, column, source, check, *around, exceptions, is_awaited)

    def _source(self, node: ast.expr) -> str:
        start, end = self._span(node)
        source = self._text[start:end]
        is_open = "\n" in source and source[0] not in "([{"
        return f"({source})" if is_open else source

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._offset(node.lineno, node.col_offset),
            self._offset(node.end_lineno, node.end_col_offset),
        )

    def _offset(self, line: int, column: int) -> int:
        """Return an offset in code points; `ast` counts columns in bytes."""
        before = self._lines[line - 1].encode()[:column]
        return self._starts[line - 1] + len(before.decode("utf-8", "replace"))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True

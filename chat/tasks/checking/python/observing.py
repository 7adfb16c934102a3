"""Expected values of Python tests: have a test report what it sees, and correct it.

An assertion such as `assert add(1, 2) == 4` becomes a call of `__starcoder_see__`, which
`python.program` defines: it evaluates the left side, reports it, and goes on. So one run shows the
values of all assertions.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chat.tasks.checking.python.assertions import Assertion, find_assertions
from chat.tasks.checking.python.literals import with_double_quotes
from chat.tasks.checking.runner import MARK

_COMMENT = f"# {MARK}"
_MAX_VALUE_CHARACTERS = 200
_MAX_LINE_CHARACTERS = 99
_MAX_EXACT_FLOAT_CHARACTERS = 8
_FAULTS_OF_TESTS = frozenset(
    {"NameError", "ImportError", "ModuleNotFoundError", "SyntaxError", "AssertionError"}
)
_LIMITS_OF_SANDBOX = frozenset(
    {"MemoryError", "RecursionError", "OSError", "PermissionError", "BlockingIOError"}
    | {"TimeoutError", "ConnectionError", "ConnectionRefusedError", "BrokenPipeError"}
    | {"ChildProcessError", "ProcessLookupError", "InterruptedError"}
)
"""Exceptions that say more about a test, or about where it runs, than about what it tests."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What an assertion saw."""

    call: str = ""
    """The function around the left side that made a value of it: "", "list" or "asyncio.run"."""
    raised: str = ""
    """The exception that was raised instead, with its module unless it is built in."""
    plausible: bool = False
    """Whether the exception may be what the subject is meant to do."""
    right: bool = False
    """Whether the assertion held."""
    value: str = ""
    """The representation of the value."""
    has_literal: bool = False
    """Whether the representation is a literal with this value."""
    kind: str = ""
    """The name of the value's type."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Observation:
        """Return an observation that the program reported."""
        texts = {name: str(data.get(name, "")) for name in ("call", "raised", "value", "kind")}
        return cls(
            **texts,
            plausible=data.get("plausible") is True,
            right=data.get("right") is True,
            has_literal=data.get("has_literal") is True,
        )


def observed_test(name: str, text: str) -> str:
    """Return a test that reports what its assertions see; the test itself if it has none."""
    edits = []
    for index, assertion in enumerate(find_assertions(text)):
        actual = f"lambda: ({assertion.actual})"
        if assertion.is_awaited:
            actual = f"(lambda value: lambda: value)({assertion.actual})"
        call = f"__starcoder_see__({name!r}, {index}, {actual}, lambda seen: {assertion.check})"
        edits.append((assertion.start, assertion.end, call))
    return _apply(text, edits)


def corrected_test(
    text: str, observations: Mapping[int, Sequence[Observation]], framework: str
) -> str | None:
    """Return a test whose assertions hold, with marks at those that were changed.

    `observations` are those of each assertion, by its index. An assertion that cannot be corrected
    is removed. Returns None if none is left.
    """
    edits = []
    left: set[tuple[int, str]] = set()
    for index, assertion in enumerate(find_assertions(text)):
        corrected = _corrected(assertion, observations.get(index, ()), framework)
        statement = text[assertion.start : assertion.end] if corrected is None else corrected
        same = (assertion.column, statement)
        if same in left:
            corrected = ""  # models repeat themselves
        elif corrected != "":
            left.add(same)
        if corrected is None:
            continue
        if corrected:
            is_right = observations[index][0].right  # only the call around it changes
            statement = corrected if is_right else _marked(corrected, assertion)
            edits.append((assertion.start, assertion.end, statement))
        else:
            edits.append((*_whole_lines(text, assertion), ""))
    if not left:
        return None
    result = _apply(text, edits)
    return result if _parses(result) else None


def _corrected(
    assertion: Assertion, observations: Sequence[Observation], framework: str
) -> str | None:
    """Return a statement in place of an assertion, "" to remove it, None to keep it."""
    if not observations:
        return None  # it was not reached
    first = observations[0]
    if any(observation != first for observation in observations):
        return None if all(each.right for each in observations) else ""
    if first.raised:
        return _raising(assertion, first, framework)
    if first.right:
        return assertion.with_actual(f"{first.call}({assertion.actual})") if first.call else None
    if not first.has_literal or len(first.value) > _MAX_VALUE_CHARACTERS:
        return ""
    actual = f"{first.call}({assertion.actual})" if first.call else assertion.actual
    return _equality(actual, first, framework)


def _raising(assertion: Assertion, seen: Observation, framework: str) -> str | None:
    if assertion.exceptions and seen.raised.rpartition(".")[2] in assertion.exceptions:
        return None
    excluded = _FAULTS_OF_TESTS | _LIMITS_OF_SANDBOX
    is_plausible = seen.plausible and "." not in seen.raised and seen.raised not in excluded
    if not is_plausible:
        return None if "Exception" in assertion.exceptions else ""
    raises = "pytest.raises" if framework == "pytest" else "self.assertRaises"
    actual = f"{seen.call}({assertion.actual})" if seen.call else assertion.actual
    return f"with {raises}({seen.raised}):\n    {actual}"


def _equality(actual: str, seen: Observation, framework: str) -> str:
    """Return the idiom of the framework that compares a value with the observed one."""
    is_long_float = seen.kind == "float" and len(seen.value) > _MAX_EXACT_FLOAT_CHARACTERS
    value = f"{float(seen.value):.6g}" if is_long_float else with_double_quotes(seen.value)
    if framework == "pytest":
        if is_long_float:
            return f"assert {actual} == pytest.approx({value})"
        is_single = value in ("True", "False", "None")
        return f"assert {actual} {'is' if is_single else '=='} {value}"
    if is_long_float:
        places = max(0, len(value.partition(".")[2]) - 1)
        return f"self.assertAlmostEqual({actual}, {value}, places={places})"
    return {
        "True": f"self.assertTrue({actual})",
        "False": f"self.assertFalse({actual})",
        "None": f"self.assertIsNone({actual})",
    }.get(value, f"self.assertEqual({actual}, {value})")


def _marked(statement: str, assertion: Assertion) -> str:
    """Return a statement with the mark, indented like the assertion."""
    first, separator, rest = statement.partition("\n")
    indentation = " " * assertion.column
    if assertion.column + len(first) + 2 + len(_COMMENT) <= _MAX_LINE_CHARACTERS:
        first = f"{first}  {_COMMENT}"
    else:
        first = f"{_COMMENT}\n{indentation}{first}"
    return first + separator + (indentation + rest if separator else "")


def _whole_lines(text: str, assertion: Assertion) -> tuple[int, int]:
    """Return the range of the lines of an assertion, with their line end."""
    start = text.rfind("\n", 0, assertion.start) + 1
    end = text.find("\n", assertion.end)
    return start, len(text) if end == -1 else end + 1


def _apply(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True

"""Expected values of JavaScript tests: have a test report what it sees, and correct it.

An assertion such as `assert.equal(add(1, 2), 4)` becomes a call of `__starcoderSee__` (see
`javascript.programs`): it evaluates `add(1, 2)`, reports it, and goes on. So one run shows the
values of all assertions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chat.tasks.checking.javascript.assertions import Assertion, find_assertions
from chat.tasks.checking.javascript.tests import LANGUAGE, Edits, apply_edits
from chat.tasks.checking.runner import MARK
from chat.tasks.dialects.base import Subject
from syntax.grammars import count_errors

_MAX_VALUE_CHARACTERS = 200
_MAX_LINE_CHARACTERS = 99
_MAX_EXACT_FLOAT_CHARACTERS = 8
_PLAUSIBLE = frozenset({"Error", "TypeError", "RangeError", "SyntaxError", "URIError", "EvalError"})
"""The classes of errors that may be expected. Others say more about a test than about its code."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What an assertion saw."""

    call: str = ""
    """What made a value of it: "", "await" for a promise, or "spread" for an iterator."""
    raised: str = ""
    """The class of the error that was raised instead, the nearest one that is built in."""
    plausible: bool = False
    """Whether the error may be what the subject is meant to do."""
    right: bool = False
    """Whether the assertion held."""
    value: str = ""
    """A literal of the value."""
    has_literal: bool = False
    kind: str = ""
    """The value's type, as `typeof` returns it."""

    @classmethod
    def of(cls, data: Mapping[str, Any], subject: Subject) -> Observation:
        """Return an observation that a test of a subject reported."""
        texts = {name: str(data.get(name, "")) for name in ("call", "raised", "value", "kind")}
        return cls(
            **texts,
            plausible=data.get("inside") is True and _may_raise(subject, texts["raised"]),
            right=data.get("right") is True,
            has_literal=data.get("literal") is True,
        )


def _may_raise(subject: Subject, error: str) -> bool:
    """Return whether a subject may be meant to raise an error.

    Its code must raise errors itself: a TypeError of the language only says that an argument has
    the wrong type.
    """
    if error == "TypeError":
        return re.search(r"\bthrow\s+(?:new\s+)?TypeError\b", subject.symbol.text) is not None
    return re.search(r"\bthrow\b", subject.text) is not None


def observed_test(number: int, text: str) -> str:
    """Return a test that reports what its assertions see; the test itself if it has none."""
    edits: Edits = []
    for index, each in enumerate(find_assertions(text)):
        wait = "await " if each.can_wait else ""
        values = f'{number}, {index}, {each.observed}, {each.check}, "{each.kind}"'
        call = f"{wait}__starcoderSee__({values})"
        edits.append((each.start, each.end, f"{call};" if each.is_statement else call))
        _make_async(each, edits)
    return apply_edits(text, edits)


def corrected_test(text: str, observations: Mapping[int, Sequence[Observation]]) -> str | None:
    """Return a test whose assertions hold, with marks at those that were changed.

    `observations` are those of each assertion, by its index. An assertion that cannot be corrected
    is removed. Returns None if none is left.
    """
    edits: Edits = []
    left: set[tuple[int | None, str, str]] = set()
    for index, each in enumerate(find_assertions(text)):
        seen = observations.get(index, ())
        corrected = _corrected(each, seen)
        if corrected is not None and "await " in corrected and not each.can_wait:
            corrected = ""
        statement = text[each.start : each.end] if corrected is None else corrected
        same = (each.function, each.indentation, statement)
        if same in left:
            corrected = ""  # models repeat themselves
        elif corrected != "":
            left.add(same)
        if corrected is None:
            continue
        if not corrected:
            if not each.is_statement:
                return None
            edits.append((*_removed(text, each), ""))
            continue
        if "await " in corrected:
            _make_async(each, edits)
        is_right = seen[0].right  # only what is around the expression changes
        edits.append((each.start, each.end, corrected if is_right else _marked(corrected, each)))
    if not left:
        return None
    result = apply_edits(text, edits)
    return None if count_errors(result, LANGUAGE) else result


def _corrected(assertion: Assertion, observations: Sequence[Observation]) -> str | None:
    """Return a statement in place of an assertion, "" to remove it, None to keep it."""
    if not observations:
        return None  # it was not reached
    first = observations[0]
    if any(observation != first for observation in observations):
        return None if all(each.right for each in observations) else ""
    is_async = first.call == "await" and not assertion.is_awaited and not assertion.resolves
    if first.right:
        if first.call == "spread":
            return assertion.with_actual(f"[...{assertion.actual}]")
        if is_async and assertion.kind == "value":
            return assertion.with_actual(f"await {assertion.actual}")
        return None
    if not assertion.actual:
        return ""
    end = ";" if assertion.is_statement else ""
    if first.raised:
        statement = _raising(assertion, first)
        return statement and statement + end
    if not first.has_literal or len(first.value) > _MAX_VALUE_CHARACTERS:
        return ""
    actual = assertion.actual
    if first.call == "spread":
        actual = f"[...{actual}]"
    elif first.call == "await" and not assertion.is_awaited:
        actual = f"await {actual}"
    return _equality(assertion, actual, first) + end


def _raising(assertion: Assertion, seen: Observation) -> str:
    """Return the idiom of the framework that expects an error."""
    if not seen.plausible or seen.raised not in _PLAUSIBLE:
        return ""
    actual, is_async = assertion.actual, assertion.is_awaited or seen.call == "await"
    module = assertion.module
    if module:
        function = f"{'async ' if assertion.is_awaited else ''}() => {actual}"
        call = f"({function}, {seen.raised})"
        return f"await {module}.rejects{call}" if is_async else f"{module}.throws{call}"
    if is_async:
        inner = f"async () => {actual}" if assertion.is_awaited else actual
        return f"await expect({inner}).rejects.toThrow({seen.raised})"
    return f"expect(() => {actual}).toThrow({seen.raised})"


def _equality(assertion: Assertion, actual: str, seen: Observation) -> str:
    """Return the idiom of the framework that compares a value with the observed one."""
    is_long = seen.kind == "number" and "." in seen.value
    is_long = is_long and len(seen.value) > _MAX_EXACT_FLOAT_CHARACTERS
    value = f"{float(seen.value):.6g}" if is_long else seen.value
    if is_long and "e" not in value:
        places = max(0, len(value.partition(".")[2]) - 1)
        if assertion.module:
            difference = f"{_operand(actual)} - {_operand(value)}"
            return f"{assertion.module}.ok(Math.abs({difference}) < 1e-{places})"
        return f"expect({actual}).toBeCloseTo({value}, {places})"
    value, is_object = seen.value, seen.kind == "object" and seen.value != "null"
    if assertion.module:
        is_strict = "trict" in assertion.method
        name = "deepEqual" if is_object else "equal"
        name = {"equal": "strictEqual", "deepEqual": "deepStrictEqual"}[name] if is_strict else name
        return f"{assertion.module}.{name}({actual}, {value})"
    if is_object:
        return f"expect({actual}).toEqual({value})"
    matchers = {"null": "toBeNull()", "undefined": "toBeUndefined()", "NaN": "toBeNaN()"}
    return f"expect({actual}).{matchers.get(value, f'toBe({value})')}"


def _operand(expression: str) -> str:
    """Return an expression as an operand of a subtraction."""
    is_simple = expression.replace(".", "").isalnum() or expression.endswith(")")
    return expression if is_simple and " ? " not in expression else f"({expression})"


def _marked(statement: str, assertion: Assertion) -> str:
    """Return a statement with the mark."""
    if not assertion.is_alone:
        return f"{statement} /* {MARK} */"
    comment = f"// {MARK}"
    if len(assertion.indentation) + len(statement) + 1 + len(comment) <= _MAX_LINE_CHARACTERS:
        return f"{statement} {comment}"
    return f"{comment}\n{assertion.indentation}{statement}"


def _removed(text: str, assertion: Assertion) -> tuple[int, int]:
    """Return the range of an assertion, with its lines if there is nothing else in them."""
    if not assertion.is_alone:
        return assertion.start, assertion.end
    start = text.rfind("\n", 0, assertion.start) + 1
    end = text.find("\n", assertion.end)
    return start, len(text) if end == -1 else end + 1


def _make_async(assertion: Assertion, edits: Edits) -> None:
    if assertion.callback is not None:
        edit = (assertion.callback, assertion.callback, "async ")
        if edit not in edits:
            edits.append(edit)

"""Further tests of a function in JavaScript: its calls in given tests, with other arguments.

The tests expect a new symbol, which nothing returns; `javascript.observing` puts in what was
observed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import tree_sitter

from chat.tasks.checking.javascript.calls import text_of
from chat.tasks.checking.javascript.literals import NotLiteralError, literal, value_of
from chat.tasks.checking.javascript.samples import Signature, sample_calls, signature_of
from chat.tasks.checking.javascript.templates import (
    FILE_MODULES,
    PLACEHOLDER,
    Template,
    title_words,
)
from chat.tasks.checking.javascript.tests import LANGUAGE
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject, free_name
from syntax.grammars import parse
from syntax.walk import nodes

_MAX_PROBES = 32
_MAX_VARIATIONS = 16
_MAX_BORDERS = 8
"""Maximum number of calls with constants of the function."""
_MAX_TYPICAL = 8
"""Number of samples that come before these calls."""
_MAX_CALLS = 3
_MAX_CHARACTERS = 160
_UNDEFINED = re.compile(r"(?:, undefined|\.toBeUndefined\()\);")


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of the subject. Two calls with the same text are equal."""

    text: str
    before: str
    """The expression that is called, such as `new Account(5).pay`."""
    values: tuple[object, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def with_argument(self, index: int, value: object) -> _Call:
        """Return the call with another value of an argument."""
        return _call(self.before, (*self.values[:index], value, *self.values[index + 1 :]))


def _call(before: str, values: tuple[object, ...]) -> _Call:
    return _Call(f"{before}({', '.join(map(literal, values))})", before, values)


def probe_tests(tests: Sequence[Snippet], subject: Subject, framework: str) -> GeneratedTests:
    """Return tests with other arguments: variations of those in `tests`, then samples."""
    signature = signature_of(subject)
    calls = list(dict.fromkeys(call for test in tests for call in _calls(test.text, subject)))
    samples: list[_Call] = []
    if signature is not None:
        samples = [_call(signature.before, values) for values in sample_calls(signature)]
    constants = signature.constants if signature is not None else ()
    borders = _changed([*calls, *samples][:1], signature, lambda each: _like(each, constants))
    probes = [
        *islice(_changed(calls[:_MAX_CALLS], signature, _others), _MAX_VARIATIONS),
        *samples[:_MAX_TYPICAL],
        *islice(borders, _MAX_BORDERS),
        *samples[_MAX_TYPICAL:],
    ]
    new = [call for call in dict.fromkeys(probes) if call not in calls]
    taken = {test.name for test in tests}
    is_async = signature is not None and signature.is_async
    template, written = Template(framework, subject.symbol.text, is_async), []
    for call in [each for each in new if len(each.text) <= _MAX_CHARACTERS][:_MAX_PROBES]:
        title = f"{subject.symbol.name} of {title_words(call.values)}"
        title = free_name(title, taken, " ")
        taken.add(title)
        written.append(Snippet(title, template.test(title, call.text)))
    return GeneratedTests(FILE_MODULES, (), tuple(written))


def observed_probes(probes: GeneratedTests) -> GeneratedTests:
    """Return the probes whose expectations were corrected."""
    kept = [test for test in probes.tests if PLACEHOLDER not in test.text]
    if all(_UNDEFINED.search(test.text) for test in kept):
        kept = []  # the function returns nothing
    return replace(probes, tests=tuple(kept))


def _calls(test: str, subject: Subject) -> Iterator[_Call]:
    """Yield the calls of the subject in a test, if all their arguments are literals."""
    root = parse(test, LANGUAGE)
    if root is None or root.has_error:
        return
    objects = dict(_objects(root))
    for node in nodes(root):
        if node.type == "call_expression" and (before := _called(node, subject, objects)):
            values = _values(node)
            if values is not None and len(text_of(node)) <= _MAX_CHARACTERS:
                yield _call(before, values)


def _objects(root: tree_sitter.Node) -> Iterator[tuple[str, str]]:
    """Yield names of variables for objects that are made from literals, and how they are made."""
    for node in nodes(root):
        value = node.child_by_field_name("value") if node.type == "variable_declarator" else None
        if value is not None and value.type == "new_expression" and _values(value) is not None:
            yield text_of(node.child_by_field_name("name")), text_of(value)


def _called(node: tree_sitter.Node, subject: Subject, objects: dict[str, str]) -> str:
    """Return the called expression if it is the subject, else ""."""
    function = node.child_by_field_name("function")
    if function is None or not subject.class_name:
        return subject.symbol.name if text_of(function) == subject.symbol.name else ""
    name = text_of(function.child_by_field_name("property"))
    owner = function.child_by_field_name("object")
    if not name or owner is None:
        return ""
    if subject.symbol.kind == "function" and name != subject.symbol.name:
        return ""
    creation = text_of(owner)
    if owner.type == "identifier":
        creation = objects.get(creation, creation)
    elif owner.type != "new_expression" or _values(owner) is None:
        return ""
    is_own = re.match(rf"(?:new )?{re.escape(subject.class_name)}\b", creation) is not None
    return f"{creation}.{name}" if is_own else ""


def _values(node: tree_sitter.Node) -> tuple[object, ...] | None:
    """Return the values of a call's arguments, None if one is no literal."""
    arguments = node.child_by_field_name("arguments")
    if arguments is None:
        return ()
    children = [each for each in arguments.named_children if each.type != "comment"]
    try:
        return tuple(map(value_of, children))
    except NotLiteralError:
        return None


def _changed(
    calls: Sequence[_Call],
    signature: Signature | None,
    others: Callable[[object], Iterator[object]],
) -> Iterator[_Call]:
    """Yield calls with one other argument; all arguments get their turn."""
    parameters = signature.parameters if signature is not None else ()
    pending = [
        (call, index, others(value))
        for call in calls
        for index, value in enumerate(call.values)
        if index >= len(parameters) or parameters[index].samples
    ]
    while pending:
        call, index, values = pending.pop(0)
        for value in islice(values, 1):
            yield call.with_argument(index, value)
            pending.append((call, index, values))


def _like(value: object, constants: Sequence[object]) -> Iterator[object]:
    """Yield the constants of the same type as a value."""
    return (each for each in constants if type(each) is type(value) and each != value)


def _others(value: object) -> Iterator[object]:
    """Yield values of the same type that functions often treat differently."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (0, -value, value + 1, value - 1, value * 10 + 7)
    elif isinstance(value, float):
        yield from (0, -value, value + 0.5)
    elif isinstance(value, str):
        yield from ("", value.upper(), f" {value} ", value[:1], f"{value} {value}")
    elif isinstance(value, list):
        yield from ([], value[:1], value[::-1], value * 2)
    elif isinstance(value, dict):
        yield from ({}, dict(islice(value.items(), 1)))

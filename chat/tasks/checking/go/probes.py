"""Calls of a Go function with other arguments than those in given tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from chat.tasks.checking.go.assertions import text_of
from chat.tasks.checking.go.samples import Signature, sample_calls
from chat.tasks.checking.go.values import Values, variations
from chat.tasks.dialects.base import Snippet, Subject
from syntax.grammars import parse
from syntax.walk import nodes

_MAX_PROBES = 32
_MAX_VARIATIONS = 14
_MAX_TYPICAL = 10
_MAX_CHARACTERS = 100
_MAX_RESULTS = 3
_MUTABLE = ("[]", "map[", "*")
_LITERAL = re.compile(r'-?[\d.]+|"[^"\\]*"|true|false|nil')


@dataclass(frozen=True, slots=True)
class Probe:
    """A call of the subject."""

    signature: Signature
    setup: Values
    arguments: Values

    @property
    def is_in_place(self) -> bool:
        """Whether only the changes of an argument can be tested, because there is no result."""
        return not self.signature.results

    @property
    def changed(self) -> int | None:
        """The index of the argument that the function can change, None if there is none."""
        types = enumerate(self.signature.types)
        return next((index for index, kind in types if kind.startswith(_MUTABLE)), None)

    @property
    def call(self) -> str:
        """The call as code."""
        return f"{self.signature.name}({', '.join(each for each in self.arguments if each)})"

    @property
    def preparation(self) -> list[str]:
        """The statements before the call."""
        if not self.is_in_place:
            return list(self.setup)
        return [*self.setup, f"values := {self.arguments[self.changed or 0]}"]

    @property
    def statement(self) -> str:
        """The call, with a variable as the argument that the function changes."""
        arguments = list(self.arguments)
        if self.is_in_place:
            arguments[self.changed or 0] = "values"
        return f"{self.signature.name}({', '.join(each for each in arguments if each)})"

    def names(self) -> list[str]:
        """Return the variables for the results."""
        names = []
        for number, kind in enumerate(self.signature.results):
            name = {"error": "err", "bool": "ok"}.get(kind, "got") if number else "got"
            name = "err" if kind == "error" else name
            names.append(name if name not in names else f"{name}{number + 1}")
        return names


def probes_of(tests: Sequence[Snippet], signature: Signature, subject: Subject) -> list[Probe]:
    """Return calls with other arguments: near those in `tests`, and samples."""
    calls = list(dict.fromkeys(chain.from_iterable(_calls(each.text, subject) for each in tests)))
    calls = [each for each in calls if len(each) == len(signature.types)]
    samples = list(sample_calls(signature))
    near = islice(_near(calls[:3], signature), _MAX_VARIATIONS)
    borders = _borders([*calls, *samples][:1], signature)
    arguments = [*near, *samples[:_MAX_TYPICAL], *borders, *samples[_MAX_TYPICAL:]]
    new = [each for each in dict.fromkeys(arguments) if each not in calls or signature.setups[0]]
    probes = [Probe(signature, setup, each) for each in new for setup in signature.setups]
    possible = [each for each in probes if len(each.call) <= _MAX_CHARACTERS]
    if not signature.results:
        possible = [each for each in possible if each.changed is not None]
    return possible[:_MAX_PROBES] if len(signature.results) <= _MAX_RESULTS else []


def _calls(test: str, subject: Subject) -> Iterator[Values]:
    """Yield the arguments of the calls of the subject in a test."""
    root = parse(f"package p\n{test}", "go")
    for node in nodes(root) if root is not None else ():
        function = node.child_by_field_name("function")
        arguments = node.child_by_field_name("arguments")
        if node.type != "call_expression" or arguments is None:
            continue
        if text_of(function).rpartition(".")[2] != subject.symbol.name:
            continue
        own = [text_of(each) for each in arguments.named_children if each.type != "comment"]
        if all(_LITERAL.fullmatch(each) for each in own):
            yield tuple(own)


def _near(calls: Sequence[Values], signature: Signature) -> Iterator[Values]:
    """Yield calls with one other argument; all arguments get their turn."""
    pending = [
        (call, index, variations(argument, kind))
        for call in calls
        for index, (argument, kind) in enumerate(zip(call, signature.types, strict=True))
    ]
    while pending:
        call, index, values = pending.pop(0)
        for value in islice(values, 1):
            yield (*call[:index], value, *call[index + 1 :])
            pending.append((call, index, values))


def _borders(calls: Sequence[Values], signature: Signature) -> Iterator[Values]:
    """Yield calls with each of the further samples of one argument, such as constants."""
    for call in calls:
        for index, samples in enumerate(signature.samples):
            for value in samples[3:]:
                yield (*call[:index], value, *call[index + 1 :])

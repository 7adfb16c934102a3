"""Calls of a Rust function with other arguments than those of given tests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import tree_sitter

from chat.tasks.checking.rust.definitions import Type, text_of
from chat.tasks.checking.rust.signatures import Receiver, Signature
from chat.tasks.checking.rust.values import Sample, borders, combinations, joined
from chat.tasks.dialects.base import GeneratedTests, free_name
from syntax.grammars import parse
from syntax.walk import nodes

_MAX_TYPICAL = 10
"""Number of samples that come before calls with constants of the function."""
_MAX_BORDERS = 14
_MAX_SAMPLES = 28
_MAX_GIVEN = 2
_MAX_FIELDS = 3
_SHORT_RESULTS = ("()", "bool", "Result")
"""Results of methods that say little, so the fields of the object are looked at, too."""
_MAX_NAME = 60
_MAX_CREATION = 40
"""Maximum length of an object that is created where its method is called."""
_MAX_WORD = 20
_LITERAL = re.compile(
    r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)\'|\b(?:true|false|Some|None|vec!|String::(?:from|new))'
    r"|\.(?:to_string|to_owned|into)\(\)|\d[\w.]*"
)
_NO_LITERAL = re.compile(r"[^\s&\[\](),.-]")


@dataclass(frozen=True, slots=True)
class Probe:
    """A call, and what is looked at afterwards."""

    name: str
    """The name of its test."""
    setup: tuple[str, ...]
    """The statements before the call."""
    call: str
    returned: Type
    watched: tuple[tuple[str, Type], ...]
    """Variables and fields that the call may change, and their types."""

    @property
    def key(self) -> str:
        """A text that two probes share if they do the same."""
        return "\n".join((*self.setup, self.call))


def probes_of(signature: Signature, name: str, tests: GeneratedTests) -> Iterator[Probe]:
    """Yield calls of a function: typical ones, then those at the borders of its constants."""
    literals = _arguments_in(tests, name)
    choices = [
        _with_literals(parameter.samples, (each[i] for each in literals if i < len(each)))
        for i, parameter in enumerate(signature.parameters)
    ]
    receivers: Sequence[Receiver | None] = signature.receivers or (None,)
    numbers = tuple(Sample(str(index), "") for index in range(len(receivers)))
    typical = list(combinations([numbers, *choices], _MAX_SAMPLES))
    changed = list(islice(_borders(signature, typical), _MAX_BORDERS))
    code = "\n".join(test.text for test in tests.tests)
    for first, *values in (*typical[:_MAX_TYPICAL], *changed, *typical[_MAX_TYPICAL:]):
        probe = _probe(signature, name, receivers[int(first.text)], values)
        is_known = not probe.setup and f"{probe.call}," in code
        if not is_known:
            yield probe


def _borders(
    signature: Signature, typical: Sequence[tuple[Sample, ...]]
) -> Iterator[tuple[Sample, ...]]:
    """Yield the first values with one of them at a border; all parameters get their turn."""
    pending = [
        (index, borders(each.type, signature.constants))
        for index, each in enumerate(signature.parameters, start=1)
    ]
    while pending and typical:
        index, values = pending.pop(0)
        for value in islice(values, 1):
            yield (*typical[0][:index], value, *typical[0][index + 1 :])
            pending.append((index, values))


def _probe(
    signature: Signature, name: str, receiver: Receiver | None, values: Sequence[Sample]
) -> Probe:
    setup: list[str] = []
    watched: list[tuple[str, Type]] = []
    arguments: list[Sample] = []
    for parameter, value in zip(signature.parameters, values, strict=True):
        if parameter.type.name == "&mut":
            setup.append(f"let mut {parameter.name} = {value.text};")
            watched.append((parameter.name, parameter.type.arguments[0]))
            arguments.append(Sample(f"&mut {parameter.name}", value.word))
        else:
            arguments.append(value)
    called = signature.path
    if receiver is not None:
        own, statements = _object(signature, receiver, {each for each, _ in watched})
        setup += statements
        called = f"{own}.{signature.path}"
        if signature.is_mutable and signature.returned.name in _SHORT_RESULTS:
            fields = signature.fields[:_MAX_FIELDS]
            watched += [(f"{own}.{each.name}", each.type) for each in fields]
    return Probe(
        f"{name.removeprefix('r#')}_of_{_words(values, receiver)}",
        tuple(setup),
        f"{called}({joined(arguments)})",
        signature.returned,
        tuple(each for each in watched if signature.scope.is_comparable(each[1])),
    )


def _object(
    signature: Signature, receiver: Receiver, taken: set[str]
) -> tuple[str, tuple[str, ...]]:
    """Return the expression for an object, and the statements that create and change it."""
    creation = receiver.creation.text
    is_changed = signature.is_mutable or bool(receiver.changes)
    if not is_changed and len(creation) <= _MAX_CREATION:
        return creation, ()
    name = free_name(signature.variable, taken)
    changes = (f"{name}.{each.text}" for each in receiver.changes)
    return name, (f"let {'mut ' * is_changed}{name} = {creation};", *changes)


def _words(values: Sequence[Sample], receiver: Receiver | None) -> str:
    words = [each.word for each in values]
    after = ""
    if receiver is not None:
        words = words or [receiver.creation.word]
        changes = "_and_".join(each.word for each in receiver.changes)
        after = f"_after_{changes}" if changes else ""
    words = words or ["nothing"]
    while len(words) > 1 and len("_and_".join(words)) > _MAX_NAME - len(after):
        words.pop()
    return f"{'_and_'.join(words)[:_MAX_NAME]}{after}"


def _arguments_in(tests: GeneratedTests, name: str) -> list[list[Sample]]:
    """Return the arguments of calls of a function in tests."""
    calls = []
    for test in tests.tests:
        root = parse(test.text, "rust")
        for node in nodes(root) if root is not None else ():
            if node.type not in ("arguments", "token_tree") or node.prev_sibling is None:
                continue
            if re.split(r"[.:]", text_of(node.prev_sibling))[-1] == name:
                calls.append([Sample(each, _word(each)) for each in _split(node)])
    return calls


def _split(node: tree_sitter.Node) -> Iterator[str]:
    """Yield the texts between commas in brackets."""
    source, start = node.text or b"", 1
    commas = [each.start_byte - node.start_byte for each in node.children if each.type == ","]
    for end in (*commas, len(source) - 1):
        yield source[start:end].decode("utf-8", "replace").strip()
        start = end + 1


def _word(text: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", text.lower()))[:_MAX_WORD].strip("_") or "given"


def _with_literals(samples: Sequence[Sample], literals: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return samples with literals that tests use, after the first sample."""
    texts = {each.text for each in samples}
    new = {
        each.text: each for each in literals if each.text not in texts and _is_literal(each.text)
    }
    return (*samples[:1], *islice(new.values(), _MAX_GIVEN), *samples[1:])


def _is_literal(text: str) -> bool:
    return bool(text) and not _NO_LITERAL.search(_LITERAL.sub("", text))


def named(probes: Iterable[Probe], taken: set[str], count: int) -> Iterator[Probe]:
    """Yield at most `count` different probes, under names that are not taken."""
    keys: set[str] = set()
    for probe in probes:
        if len(keys) < count and probe.key not in keys:
            keys.add(probe.key)
            name = free_name(probe.name, taken)
            taken.add(name)
            yield replace(probe, name=name)

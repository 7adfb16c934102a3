"""Further tests of a Go function: calls with other arguments, and the results that were observed.

A first set of tests only reports results. The tests that a person sees are written from these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from chat.tasks.checking.go_assertions import text_of
from chat.tasks.checking.go_observing import MARKED, Seen
from chat.tasks.checking.go_samples import Signature, Values, sample_calls, variations
from chat.tasks.dialects.base import Snippet, Subject, free_name
from syntax.grammars import parse
from syntax.walk import nodes

_MAX_PROBES = 32
_MAX_VARIATIONS = 14
_MAX_TYPICAL = 10
_MAX_CHARACTERS = 100
_MAX_VALUE_CHARACTERS = 120
_MAX_WORDS = 45
_MAX_RESULTS = 3
_PANIC = 99
"""The index under which a probe reports a panic."""
_MUTABLE = ("[]", "map[", "*")
_VERBS = {"string": "%q", "int": "%d"}
_LITERAL = re.compile(r'-?[\d.]+|"[^"\\]*"|true|false|nil')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


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
    made = [Probe(signature, setup, each) for each in new for setup in signature.setups]
    possible = [each for each in made if len(each.call) <= _MAX_CHARACTERS]
    if not signature.results:
        possible = [each for each in possible if each.changed is not None]
    return possible[:_MAX_PROBES] if len(signature.results) <= _MAX_RESULTS else []


def observing_test(number: int, probe: Probe) -> Snippet:
    """Return a test that reports the results of a probe."""
    lines = [
        "defer func() {",
        "\tif r := recover(); r != nil {",
        "\t\t_, isRuntime := r.(interface{ RuntimeError() })",
        f"\t\tstarcoderSeen({number}, {_PANIC}, isRuntime, fmt.Sprint(r))",
        "\t}",
        "}()",
        *_lines_before(probe),
    ]
    if probe.is_in_place:
        lines += [_changing_call(probe), f"starcoderSeen({number}, 0, false, values)"]
    else:
        names = probe.names()
        lines.append(f"{', '.join(names)} := {probe.call}")
        lines += [f"starcoderSeen({number}, {i}, false, {name})" for i, name in enumerate(names)]
    return _function(f"TestProbe{number}", lines)


def written_tests(
    probes: Sequence[Probe],
    seen: Mapping[int, Mapping[int, Sequence[Seen]]],
    subject: Subject,
    taken: Iterable[str],
) -> list[Snippet]:
    """Return tests that expect what was observed. A panic counts if the subject itself panics."""
    names, tests, last = set(taken), [], list[str]()
    for number, probe in enumerate(probes):
        own = {index: one[0] for index, one in seen.get(number, {}).items() if one}
        lines = _expectations(probe, own, may_panic="panic(" in subject.symbol.text)
        if not lines:
            continue
        title = f"Test{subject.camel_case[:1].upper()}{subject.camel_case[1:]}Of{_words(probe)}"
        name = free_name(title, names, "")
        names.add(name)
        last = [*_lines_before(probe), *lines]
        tests.append(_function(name, last))
    return tests


def _expectations(probe: Probe, seen: Mapping[int, Seen], *, may_panic: bool) -> list[str]:
    """Return the lines that call the subject and compare its results, empty if that is no test."""
    call, message = probe.call, _escaped(probe.call)
    if panic := seen.get(_PANIC):
        if panic.is_wrong or not may_panic:
            return []
        report = f"t.Error({_quoted(f'{probe.call} did not panic')})"
        opening = ["defer func() {", f"\tif recover() == nil {{ {MARKED}"]
        call = _changing_call(probe) if probe.is_in_place else call
        return [*opening, f"\t\t{report}", "\t}", "}()", call]
    results = [
        seen[index] for index in range(max(1, len(probe.signature.results))) if index in seen
    ]
    if len(results) < max(1, len(probe.signature.results)) or not all(map(_is_known, results)):
        return []
    if probe.is_in_place:
        unchanged = probe.arguments[probe.changed or 0]
        lines = [_changing_call(probe), *_comparison("values", "", results[0], message)]
        return [] if results[0].code.replace(" ", "") == unchanged.replace(" ", "") else lines
    if len(results) == 1:
        kind = probe.signature.results[0]
        return _comparison("err" if kind == "error" else "got", f" := {call}", results[0], message)
    return _several(probe, results, message)


def _several(probe: Probe, results: Sequence[Seen], message: str) -> list[str]:
    """Return the comparisons of several results, of which the last is often an error."""
    names = probe.names()
    has_error = probe.signature.results[-1] == "error"
    if has_error and results[-1].kind == "error":
        blanks = ", ".join(["_"] * (len(names) - 1))
        return _comparison("err", f" := {probe.call}", results[-1], message, f"{blanks}, ")
    lines = [f"{', '.join(names)} := {probe.call}"]
    if has_error:
        lines += ["if err != nil {", "\tt.Fatal(err)", "}"]
        names, results = names[:-1], results[:-1]
    for name, each in zip(names, results, strict=True):
        lines += _comparison(name, "", each, message)
    return lines


def _comparison(name: str, assigned: str, seen: Seen, message: str, before: str = "") -> list[str]:
    """Return a comparison of a variable, which may get its value in the same statement."""
    opening = f"if {before}{name}{assigned}; {name}" if assigned else f"if {name}"
    if seen.kind == "error":
        report = f"t.Error({_quoted(f'{_plain(message)} returned no error')})"
        return [f"{opening} == nil {{ {MARKED}", f"\t{report}", "}"]
    if seen.kind == "nil" or seen.code.endswith("(nil)"):
        report = f"t.Errorf({_quoted(f'{message} = %v, want nil')}, {name})"
        return [f"{opening} != nil {{ {MARKED}", f"\t{report}", "}"]
    if seen.kind == "composite":
        first = [f"{name}{assigned}"] if assigned else []
        report = f"t.Errorf({_quoted(f'{message} = %v, want %v')}, {name}, want)"
        compared = f"if want := {seen.code}; !reflect.DeepEqual({name}, want) {{ {MARKED}"
        if len(compared) > _MAX_CHARACTERS or "{" in seen.code:
            first.append(f"want := {seen.code} {MARKED}")
            compared = f"if !reflect.DeepEqual({name}, want) {{"
        return [*first, compared, f"\t{report}", "}"]
    verb = _VERBS.get(seen.kind, "%v")
    report = f"t.Errorf({_quoted(f'{message} = {verb}, want {_escaped(seen.code)}')}, {name})"
    condition = f"{name} != {seen.code}"
    if seen.kind == "bool":
        condition = f"!{name}" if seen.code == "true" else name
    elif seen.kind == "float" and len(seen.code) > 8:
        minus = f" - ({seen.code})" if seen.code.startswith("-") else f"-{seen.code}"
        condition = f"math.Abs({name}{minus}) > 1e-9"
    head = f"if {before}{name}{assigned}; " if assigned else "if "
    return [f"{head}{condition} {{ {MARKED}", f"\t{report}", "}"]


def _is_known(seen: Seen) -> bool:
    return seen.kind in ("error", "nil") or (
        seen.kind != "other" and 0 < len(seen.code) <= _MAX_VALUE_CHARACTERS
    )


def _lines_before(probe: Probe) -> list[str]:
    if not probe.is_in_place:
        return list(probe.setup)
    return [*probe.setup, f"values := {probe.arguments[probe.changed or 0]}"]


def _changing_call(probe: Probe) -> str:
    """Return the call with a variable as the argument that the function changes."""
    arguments = list(probe.arguments)
    arguments[probe.changed or 0] = "values"
    return f"{probe.signature.name}({', '.join(each for each in arguments if each)})"


def _function(name: str, lines: Sequence[str]) -> Snippet:
    body = "\n".join(f"\t{line}" for line in lines)
    return Snippet(name, f"func {name}(t *testing.T) {{\n{body}\n}}")


def _escaped(text: str) -> str:
    """Return a text for a format."""
    return text.replace("%", "%%")


def _plain(text: str) -> str:
    return text.replace("%%", "%")


def _quoted(text: str) -> str:
    """Return a literal of a text, in the way that needs no escapes if there is one."""
    if '"' not in text and "\\" not in text:
        return f'"{text}"'
    if "`" not in text:
        return f"`{text}`"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _words(probe: Probe) -> str:
    """Return the arguments of a call as a part of a name."""
    pairs = zip(probe.arguments, probe.signature.types, strict=True)
    words = [_word(argument, kind) for argument, kind in pairs] or ["Nothing"]
    while len(words) > 1 and len("And".join(words)) > _MAX_WORDS:
        words.pop()
    return "And".join(words)


def _word(argument: str, kind: str) -> str:
    if _NUMBER.fullmatch(argument):
        return argument.replace("-", "Minus").replace(".", "Point")
    if argument in ("true", "false", "nil"):
        return argument.capitalize()
    if argument.startswith('"'):
        text = argument[1:-1]
        is_word = re.fullmatch(r"[a-zA-Z]\w{0,11}", text, re.ASCII)
        return f"{text[0].upper()}{text[1:]}" if is_word else "Text" if text else "EmptyText"
    noun = "Map" if kind.startswith("map[") else "Value"
    if kind.startswith(("[]", "...")):
        noun = "Slice" if kind.startswith("[]") else "Arguments"
    is_empty = not argument or argument.endswith("{}")
    if is_empty:
        return f"Empty{noun}" if argument else "NoArguments"
    return f"Single{noun}" if noun == "Slice" and "," not in argument else noun


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

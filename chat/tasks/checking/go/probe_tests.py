"""Writes tests from calls of a Go function: some that only report results, and those to show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from chat.tasks.checking.go.edits import MARKED
from chat.tasks.checking.go.observing import Seen
from chat.tasks.checking.go.probes import Probe
from chat.tasks.dialects.base import Snippet, Subject, free_name

_MAX_LINE_CHARACTERS = 100
_MAX_VALUE_CHARACTERS = 120
_MAX_WORDS = 45
_PANIC = 99
"""The index under which a probe reports a panic."""
_VERBS = {"string": "%q", "int": "%d"}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def observing_test(number: int, probe: Probe) -> Snippet:
    """Return a test that reports the results of a probe."""
    lines = [
        "defer func() {",
        "\tif r := recover(); r != nil {",
        "\t\t_, isRuntime := r.(interface{ RuntimeError() })",
        f"\t\tstarcoderSeen({number}, {_PANIC}, isRuntime, fmt.Sprint(r))",
        "\t}",
        "}()",
        *probe.preparation,
    ]
    if probe.is_in_place:
        lines += [probe.statement, f"starcoderSeen({number}, 0, false, values)"]
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
    names, tests = set(taken), []
    for number, probe in enumerate(probes):
        own = {index: all_seen[0] for index, all_seen in seen.get(number, {}).items()}
        lines = _expectations(probe, own, may_panic="panic(" in subject.symbol.text)
        if not lines:
            continue
        title = f"Test{subject.camel_case[:1].upper()}{subject.camel_case[1:]}Of{_words(probe)}"
        name = free_name(title, names, "")
        names.add(name)
        tests.append(_function(name, [*probe.preparation, *lines]))
    return tests


def _expectations(probe: Probe, seen: Mapping[int, Seen], *, may_panic: bool) -> list[str]:
    """Return the lines that call the subject and compare its results, empty if that is no test."""
    call, message = probe.call, _escaped(probe.call)
    if panic := seen.get(_PANIC):
        if panic.is_wrong or not may_panic:
            return []
        report = f"t.Error({_quoted(f'{probe.call} did not panic')})"
        opening = ["defer func() {", f"\tif recover() == nil {{ {MARKED}"]
        return [*opening, f"\t\t{report}", "\t}", "}()", probe.statement]
    results = [
        seen[index] for index in range(max(1, len(probe.signature.results))) if index in seen
    ]
    if len(results) < max(1, len(probe.signature.results)) or not all(map(_is_known, results)):
        return []
    if probe.is_in_place:
        unchanged = probe.arguments[probe.changed or 0]
        lines = [probe.statement, *_comparison("values", "", results[0], message)]
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
        if len(compared) > _MAX_LINE_CHARACTERS or "{" in seen.code:
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


def _function(name: str, lines: Sequence[str]) -> Snippet:
    body = "\n".join(f"\t{line}" for line in lines)
    return Snippet(name, f"func {name}(t *testing.T) {{\n{body}\n}}")


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

"""Further tests of a function in Rust: calls with other arguments, and what was observed.

First each call is in a test that prints what it returns, with a time limit of its own. From what
was printed, and the types of the source, the tests are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chat.tasks.checking.runner import MARK
from chat.tasks.checking.rust.calls import Probe, named, probes_of
from chat.tasks.checking.rust.definitions import text_of
from chat.tasks.checking.rust.literals import Assertions
from chat.tasks.checking.rust.signatures import Signature, signature_of
from chat.tasks.checking.rust.value_types import MAPS, SETS, WRAPPERS
from chat.tasks.checking.rust.values import quoted
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject
from syntax.grammars import count_errors, parse
from syntax.walk import nodes

_SEEN = "starcoder-seen"
_BEFORE, _AFTER, _RETURNED = "before", "after", "returned"
_VALUE = re.compile(rf"^{_SEEN} (\d+) (\w+) (\d+) (.*)$", re.M)
_ENDED = re.compile(rf"^{_SEEN} (\d+) ended$", re.M)
_PANIC = re.compile(
    rf"^thread '{_SEEN} (\d+)'(?: \(\d+\))? panicked at ([^\n]+):(\d+):\d+:\n([^\n]*)$", re.M
)
_OWN_PANIC = re.compile(r"\b(?:panic|unreachable|(?:debug_)?assert\w*)!|\.(?:unwrap|expect)\w*\(")
_MAX_PROBES = 28
_MAX_PARAMETERS = 4
_MAX_CALL = 120
_MAX_MESSAGE = 80
_MAX_ARGUMENTS = 60
"""The length from which rustfmt writes the arguments of a call below each other."""
_MILLISECONDS = 500
"""The time for one call: nobody has chosen its arguments, so it may never end."""
_IMPORTS = {
    **{name: f"use std::collections::{name};" for name in sorted((*SETS, *MAPS, "VecDeque"))},
    "Ordering": "use std::cmp::Ordering;",
}


@dataclass(frozen=True, slots=True)
class Observed:
    """What one probe has printed."""

    values: Mapping[tuple[str, int], str] = field(default_factory=dict)
    has_returned: bool = False
    has_panicked: bool = False
    message: str | None = None
    """The first line of the message, if a statement of the subject panics on purpose."""


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one function."""

    subject: Subject
    signature: Signature
    probes: tuple[Probe, ...]
    imports: tuple[str, ...]
    assertions: Assertions

    @property
    def observing(self) -> GeneratedTests:
        """Tests that print what the calls return."""
        written = enumerate(self.probes)
        tests = (Snippet(each.name, self._observing(number, each)) for number, each in written)
        return GeneratedTests(self.imports, (), tuple(tests))

    def observed(self, output: str, source: str) -> dict[int, Observed]:
        """Return what probes have printed, by their numbers; `source` is the subject's file."""
        seen = _returned_in(output)
        for number, path, line, message in _PANIC.findall(output):
            is_own = is_own_panic(self.subject, source, path, int(line))
            seen[int(number)] = Observed(has_panicked=True, message=message if is_own else None)
        return seen

    def written(self, seen: Mapping[int, Observed]) -> GeneratedTests:
        """Return tests that expect what was printed."""
        changed = {
            each
            for number, probe in enumerate(self.probes)
            for index, (each, _) in enumerate(probe.watched)
            if number in seen and _is_changed(seen[number], index)
        }
        tests = []
        for number, probe in enumerate(self.probes):
            text = self._test(probe, seen.get(number, Observed()), changed)
            if text is not None and not count_errors(text, "rust"):
                tests.append(Snippet(probe.name, text))
        return GeneratedTests(self.imports, (), tuple(tests))

    def _observing(self, number: int, probe: Probe) -> str:
        """Return a test that prints what a call returns, and ends the program if it never does."""
        watched = [(index, each) for index, (each, _) in enumerate(probe.watched)]
        lines = [
            *probe.setup,
            *(_printed(number, f"{_BEFORE} {index}", each) for index, each in watched),
            _printed(number, f"{_RETURNED} 0", probe.call) if self.prints else f"{probe.call};",
            *(_printed(number, f"{_AFTER} {index}", each) for index, each in watched),
            f'eprintln!("\\n{_SEEN} {number} ended");',
            "sender.send(()).unwrap();",
        ]
        body = "\n".join(lines)
        return (
            f"#[test]\nfn {probe.name}() {{\n"
            "let (sender, receiver) = std::sync::mpsc::channel();\n"
            f'let thread = std::thread::Builder::new().name("{_SEEN} {number}".to_string());\n'
            f"thread.spawn(move || {{\n{body}\n}}).unwrap();\n"
            f"let limit = std::time::Duration::from_millis({_MILLISECONDS});\n"
            "let ended = receiver.recv_timeout(limit);\n"
            "if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = ended {\n"
            "std::process::exit(1);\n}\n}"
        )

    @property
    def prints(self) -> bool:
        """Whether what the function returns can be printed: not, if its type is not known."""
        scope, returned = self.signature.scope, self.signature.returned
        is_value = returned.name not in ("", "()", "!")
        is_known = scope.is_comparable(returned) or returned.name in WRAPPERS
        return is_value and is_known and scope.is_printable(returned)

    def _test(self, probe: Probe, observed: Observed, changed: set[str]) -> str | None:
        if observed.message is not None:
            return _panicking(probe, observed.message)
        if not observed.has_returned:
            return None
        value = observed.values.get((_RETURNED, 0), "")
        assertion = self.assertions.of(probe.call, probe.returned, value) if value else None
        call = f"{_ignored(probe)};" if assertion is None else _marked(assertion)
        others = [
            self.assertions.of(each, type_, observed.values.get((_AFTER, index), ""))
            for index, (each, type_) in enumerate(probe.watched)
            if each in changed
        ]
        written = [_marked(each) for each in others if each is not None]
        if assertion is None and not written:
            return None
        return _function(probe.name, [*probe.setup, call, *written])


def make_probes(
    tests: GeneratedTests, subject: Subject, taken: set[str], *, is_inside: bool
) -> Probes | None:
    """Return calls with other arguments than those in `tests`, None if there are none.

    `taken` are names that tests cannot have, and `is_inside` says whether they see private items.
    """
    signature = signature_of(subject, is_inside=is_inside)
    if signature is None or len(signature.parameters) > _MAX_PARAMETERS:
        return None
    calls = probes_of(signature, subject.symbol.name, tests)
    short = (probe for probe in calls if len(probe.call) <= _MAX_CALL)
    probes = Probes(
        subject,
        signature,
        tuple(named(short, set(taken), _MAX_PROBES)),
        tuple(_imports(subject, is_inside=is_inside)),
        Assertions(signature.scope, is_inside=is_inside),
    )
    can_see = probes.prints or any(probe.watched for probe in probes.probes)
    return probes if probes.probes and can_see else None


def is_own_panic(subject: Subject, source: str, path: str, line: int) -> bool:
    """Whether a panic comes from a statement of the subject whose purpose is to panic."""
    start = source.find(subject.symbol.text)
    if start < 0 or not f"/{subject.path.as_posix()}".endswith(f"/{path}"):
        return False
    first = source.count("\n", 0, start) + 1
    last = first + subject.symbol.text.count("\n")
    return first <= line <= last and bool(_OWN_PANIC.search(source.split("\n")[line - 1]))


def _returned_in(output: str) -> dict[int, Observed]:
    seen: dict[int, Observed] = {}
    for number, kind, index, value in _VALUE.findall(output):
        before = seen.get(int(number), Observed())
        seen[int(number)] = replace(before, values={**before.values, (kind, int(index)): value})
    for number in _ENDED.findall(output):
        seen[int(number)] = replace(seen.get(int(number), Observed()), has_returned=True)
    return seen


def _is_changed(observed: Observed, index: int) -> bool:
    before, after = observed.values.get((_BEFORE, index)), observed.values.get((_AFTER, index))
    return after is not None and before != after


def _printed(number: int, what: str, expression: str) -> str:
    return f'eprintln!("\\n{_SEEN} {number} {what} {{:?}}", {expression});'


def _panicking(probe: Probe, message: str) -> str:
    function = _function(probe.name, [*probe.setup, f"{_ignored(probe)};"])
    expected = f"(expected = {quoted(message[:_MAX_MESSAGE])})" if message else ""
    attribute = f"#[should_panic{expected}] // {MARK}"
    return function.replace("#[test]\n", f"#[test]\n{attribute}\n", 1)


def _function(name: str, statements: Sequence[str]) -> str:
    body = "\n".join(f"    {line}" for each in statements for line in each.split("\n"))
    return f"#[test]\nfn {name}() {{\n{body}\n}}"


def _marked(assertion: str) -> str:
    """Return an assertion with its mark, in several lines if it is long."""
    match = re.fullmatch(r"assert_eq!\((.*)\);", assertion, re.S)
    if match is None or len(match[1]) <= _MAX_ARGUMENTS:
        return f"{assertion} // {MARK}"
    actual, expected = _arguments(match[1])
    return f"assert_eq!(\n    {actual},\n    {expected}\n); // {MARK}"


def _arguments(text: str) -> tuple[str, str]:
    """Return the two arguments of `assert_eq!`."""
    root = parse(f"fn f() {{ g({text}); }}", "rust")
    assert root is not None
    first, second = next(e for e in nodes(root) if e.type == "arguments").named_children
    return text_of(first), text_of(second)


def _ignored(probe: Probe) -> str:
    """Return a call whose result is not used."""
    return f"let _ = {probe.call}" if probe.returned.name in WRAPPERS else probe.call


def _imports(subject: Subject, *, is_inside: bool) -> Iterator[str]:
    """Yield the imports of types that the file of the tests may not have."""
    for name, line in _IMPORTS.items():
        if not is_inside or not re.search(rf"^use [^;]*\b{name}\b", subject.text, re.M):
            yield line

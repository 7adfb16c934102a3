"""Further tests of a Java method: calls with other arguments than those in given tests.

The tests expect a new object, to which nothing is equal; `java.observing` puts in what was
observed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, zip_longest

from chat.tasks.checking.java.assertions import LANGUAGE, text_of
from chat.tasks.checking.java.samples import Signature, Values, sample_calls, signature_of
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject, free_name
from syntax.grammars import parse
from syntax.walk import nodes

_PLACEHOLDER = "new Object()"
_MAX_PROBES = 32
_MAX_CALLS = 3
_MAX_CHARACTERS = 120
_MAX_NAME, _MAX_WORD = 50, 20
_ERROR = re.compile(r"assertThrows\(([\w.]+)\.class")
_BY_THE_LANGUAGE = re.compile(
    r"NullPointerException|ClassCastException|NegativeArraySizeException|OutOfBoundsException"
)
_WORD = re.compile(r"-?\d+(?:\.\d+)?|true|false|null|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_IMPORTS = ("import java.util.Arrays;", "import java.util.Collections;")


def probe_tests(tests: Sequence[Snippet], subject: Subject) -> GeneratedTests:
    """Return tests with other arguments: variations of those in `tests`, samples, and borders."""
    signature = signature_of(subject)
    if signature is None:
        return GeneratedTests((), (), ())
    own = list(islice(dict.fromkeys(_calls(tests, subject, signature)), _MAX_CALLS))
    samples = sample_calls(signature.samples)
    first = [*own, *samples][:1]
    groups = (
        list(_changed(own, signature.samples)),
        samples,
        list(_changed(first, signature.borders)),
    )
    mixed = (call for calls in zip_longest(*groups) for call in calls if call is not None)
    texts = dict.fromkeys(f"{signature.before}({', '.join(call)})" for call in mixed)
    existing = "\n".join(test.text for test in tests)
    taken = {test.name for test in tests}
    written: list[Snippet] = []
    for text in texts:
        if len(text) > _MAX_CHARACTERS or text in existing or len(written) == _MAX_PROBES:
            continue
        name = free_name(_name(subject.symbol.name, text), taken)
        taken.add(name)
        code = f"assertEquals({_PLACEHOLDER}, {text});"
        written.append(Snippet(name, f"@Test\n    void {name}() {{\n        {code}\n    }}"))
    return GeneratedTests(_IMPORTS, (), tuple(written))


def observed_probes(probes: GeneratedTests, subject: Subject) -> GeneratedTests:
    """Return the probes whose corrected expectations are behaviour of the subject.

    An error is behaviour if the subject's code raises errors itself. That of the language only says
    that an argument is not accepted, unless the code names it.
    """
    kept = [
        test
        for test in probes.tests
        if _PLACEHOLDER not in test.text and _is_behaviour(test.text, subject)
    ]
    return replace(probes, tests=tuple(kept))


def _is_behaviour(test: str, subject: Subject) -> bool:
    error = _ERROR.search(test)
    if error is None:
        return True
    if _BY_THE_LANGUAGE.search(error[1]):
        return error[1] in subject.symbol.text
    return re.search(r"\bthrow\b", subject.text) is not None


def _calls(tests: Sequence[Snippet], subject: Subject, signature: Signature) -> Iterator[Values]:
    """Yield the arguments of the subject in tests, if all of them are simple values."""
    for test in tests:
        root = parse(f"class X {{\n{test.text}\n}}", LANGUAGE)
        for node in nodes(root) if root is not None else ():
            name = node.child_by_field_name("name") if node.type == "method_invocation" else None
            arguments = node.child_by_field_name("arguments")
            if text_of(name) != subject.symbol.name or arguments is None:
                continue
            values = tuple(text_of(each) for each in arguments.named_children)
            is_simple = all(_WORD.fullmatch(each) or each.startswith("new ") for each in values)
            if is_simple and len(values) == len(signature.samples):
                yield values


def _changed(calls: Sequence[Values], others: Sequence[Values]) -> Iterator[Values]:
    """Yield calls with one other argument; all arguments get their turn."""
    pending = [(call, i, iter(others[i])) for call in calls for i in range(len(call))]
    while pending:
        call, index, values = pending.pop(0)
        for value in islice(values, 1):
            yield (*call[:index], value, *call[index + 1 :])
            pending.append((call, index, values))


def _name(subject: str, call: str) -> str:
    """Return the name of a test, such as `clampWithMinus2And0`."""
    arguments = call.partition(f"{subject}(")[2][:-1]
    if "emptyList()" in arguments or "{}" in arguments:
        return f"{subject}WithNoElements"
    words = [_in_words(each) for each in _WORD.findall(arguments)] or ["outArguments"]
    name = f"{subject}With{'And'.join(words)}"
    return name if len(name) <= _MAX_NAME else f"{subject}With{words[0]}AndOthers"


def _in_words(value: str) -> str:
    if value == '""':
        return "EmptyText"
    if value[0] not in "\"'":
        words = value.replace("-", "Minus").replace(".", "Point")
        return words if value[0] in "-0123456789" else words.capitalize()
    letters = "".join(re.findall(r"[a-zA-Z0-9]+", value[1:-1].title()))
    return letters[:_MAX_WORD] or "Sign"

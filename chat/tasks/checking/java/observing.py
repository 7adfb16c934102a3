"""Expected values of JUnit tests: have a test report what it sees, and correct it.

`assertEquals(4, add(1, 2));` becomes a statement that reports the value of `add(1, 2)` with
`junit/Seen.java`, and whether the assertion held, and goes on in both cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chat.tasks.checking.java.assertions import Assertion, find_assertions, is_correct
from chat.tasks.checking.runner import MARK
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject
from chat.tasks.dialects.java import package_of

EVENTS = frozenset({"value", "held", "failed"})
"""What `junit/Seen.java` reports about an assertion."""

_SEEN = "starcoderlsp.Seen"
_MAX_VALUE_CHARACTERS = 200
_MAX_LINE_CHARACTERS = 99
_MAX_EXACT_FLOAT_CHARACTERS = 8
_EXACT_DELTA = "1e-9"
_BOXED = frozenset({"Byte", "Short", "Integer", "Long", "Character"})
_UTILITIES = ("Arrays", "List", "Map", "Optional", "Set")
"""Classes of java.util that literals use."""

Event = tuple[str, Sequence[object]]
"""What was reported, and its values."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an assertion saw."""

    kind: str = ""
    """The value's primitive type, or the name of its class."""
    value: str = ""
    """A literal of the value, empty if it has none."""
    is_right: bool = False
    """Whether the assertion held."""
    raised: str = ""
    """The class of the error that was raised, empty for that of an assertion."""
    is_inside: bool = False
    """Whether the subject's class, or code that it called, raised it."""


def observed_tests(tests: GeneratedTests, subject: Subject) -> GeneratedTests:
    """Return tests that report what their assertions see."""
    observed = (
        replace(test, text=_observed(number, test.text, subject))
        for number, test in enumerate(tests.tests)
    )
    return replace(tests, tests=tuple(observed))


def corrected_tests(
    tests: GeneratedTests,
    events: Mapping[int, Mapping[int, Sequence[Event]]],
    subject: Subject,
    framework: str,
) -> GeneratedTests:
    """Return tests whose assertions hold, with marks at those that were changed.

    `events` are those of each assertion, by the number of its test and its index. An assertion that
    cannot be corrected is removed, and a test without any is left out.
    """
    corrected: list[Snippet] = []
    for number, test in enumerate(tests.tests):
        own = {index: list(_observations(each)) for index, each in events.get(number, {}).items()}
        text = _corrected_test(test.text, own, package_of(subject.text), framework)
        if text is not None:
            corrected.append(replace(test, text=text))
    code = "\n".join(test.text for test in corrected)
    used = [name for name in _UTILITIES if re.search(rf"(?<![\w.]){name}\.\w+\(", code)]
    imports = [f"import java.util.{name};" for name in used]
    new = [each for each in imports if each not in tests.imports]
    return replace(tests, imports=(*tests.imports, *new), tests=tuple(corrected))


def _observed(number: int, text: str, subject: Subject) -> str:
    """Return a test that reports what its assertions see."""
    name = re.escape(subject.symbol.name)
    has_value = not re.search(rf"\bvoid\s+{name}\s*\(", subject.symbol.text)
    for index, each in reversed(list(enumerate(find_assertions(text)))):
        place = f"{number}, {index}"
        statement = text[each.start : each.end]
        if each.kind != "throws" or (has_value and each.called == subject.symbol.name):
            before = text[each.start : each.actual_start]
            after = text[each.actual_end : each.end]
            statement = f"{before}{_SEEN}.value({place}, {each.actual}){after}"
        text = (
            f"{text[: each.start]}try {{ {statement} {_SEEN}.held({place}); }} "
            f"catch (Throwable starcoderError) {{ {_SEEN}.failed({place}, starcoderError); }}"
            f"{text[each.end :]}"
        )
    return text


def _observations(events: Sequence[Event]) -> Iterator[Seen]:
    seen = Seen()
    for event, values in events:
        match event, values:
            case "value", [str(kind), value]:
                seen = Seen(kind.removeprefix("java.lang."), str(value or ""))
            case "held", _:
                yield replace(seen, is_right=True)
                seen = Seen()
            case "failed", [str(raised), bool(is_inside)]:
                yield replace(seen, raised=raised, is_inside=is_inside)
                seen = Seen()
            case _:
                continue


def _corrected_test(
    text: str, observations: Mapping[int, Sequence[Seen]], package: str, framework: str
) -> str | None:
    """Return a test whose assertions hold, None if none is left."""
    kept = len(re.findall(r"\b(?:assert\w*|fail)\s*\(|expected\s*=", text))
    edits: list[tuple[int, int, str]] = []
    statements: set[str] = set()
    for index, each in enumerate(find_assertions(text)):
        seen = observations.get(index, ())
        new = _corrected(each, seen, package, framework)
        statement = text[each.start : each.end] if new is None else new
        if statement in statements and "(" in statement:
            new = ""  # models repeat themselves
        statements.add(statement)
        if new is None:
            continue
        if new:
            edits.append((each.start, each.end, _marked(text, each, new)))
        else:
            kept -= 1
            edits.append((*_lines_of(text, each), ""))
    if kept <= 0:
        return None
    for start, end, new in reversed(edits):
        text = text[:start] + new + text[end:]
    return text if is_correct(text) else None


def _corrected(
    assertion: Assertion, observations: Sequence[Seen], package: str, framework: str
) -> str | None:
    """Return a statement in place of an assertion, "" to remove it, None to keep it."""
    if all(each.is_right for each in observations):
        return None  # also if it was not reached
    seen = observations[0]
    if any(each != seen for each in observations):
        return ""
    if seen.raised:
        return _raising(assertion, seen, package)
    if not seen.kind or not assertion.actual or len(seen.value) > _MAX_VALUE_CHARACTERS:
        return ""
    return _equality(assertion, _own_names(seen, package), framework)


def _raising(assertion: Assertion, seen: Seen, package: str) -> str:
    """Return a statement that expects an error."""
    name = _short(seen.raised, package)
    if not seen.is_inside or not re.fullmatch(r"[\w.]+", name):
        return ""
    function = assertion.function or f"() -> {assertion.actual}"
    return f"{assertion.qualifier}assertThrows({name}.class, {function});"


def _equality(assertion: Assertion, seen: Seen, framework: str) -> str:
    """Return a statement that expects the value that was seen."""
    actual, value, before = assertion.actual, seen.value, assertion.qualifier
    if value in ("true", "false"):
        return f"{before}assert{value.capitalize()}({actual});"
    if value == "null":
        return f"{before}assertNull({actual});"
    if not value:
        return f"{before}assertNotNull({actual});" if assertion.kind == "truth" else ""
    if seen.kind.lower() in ("float", "double"):
        value, delta = _rounded(value)
        return f"{before}assertEquals({value}, {actual}, {delta});"
    if value.startswith("new "):
        floats = seen.kind in ("float[]", "double[]")
        delta = f", {_EXACT_DELTA}{'f' if seen.kind == 'float[]' else ''}" if floats else ""
        return f"{before}assertArrayEquals({value}, {actual}{delta});"
    if "List.of(" in assertion.expected and "null" not in value:
        value = value.replace("Arrays.asList(", "List.of(")
    if framework == "junit4" and seen.kind in _BOXED:
        value = f"{seen.kind}.valueOf({value})"
    return f"{before}assertEquals({value}, {actual});"


def _rounded(value: str) -> tuple[str, str]:
    """Return a literal of a number with few digits, and how much another may differ from it."""
    number, suffix = (value[:-1], "f") if value.endswith("f") else (value, "")
    is_long = "." in number and len(number.lstrip("-")) > _MAX_EXACT_FLOAT_CHARACTERS
    rounded = f"{float(number):.6g}" if is_long and re.fullmatch(r"-?[\d.]+", number) else number
    if rounded == number or "e" in rounded:
        return value, _EXACT_DELTA + suffix
    places = max(0, len(rounded.partition(".")[2]) - 1)
    return rounded + (suffix or ("" if "." in rounded else ".0")), f"1e-{places}{suffix}"


def _own_names(seen: Seen, package: str) -> Seen:
    """Return what was seen, with the names of classes as a test in this package writes them."""
    if '"' in seen.value or not package:
        return seen
    return replace(seen, value=re.sub(rf"\b{re.escape(package)}\.(?=[A-Z])", "", seen.value))


def _short(name: str, package: str) -> str:
    """Return the name by which a test in a package can write a class."""
    for prefix in ("java.lang.", f"{package}."):
        if re.fullmatch(rf"{re.escape(prefix)}[A-Z]\w*(?:\.[A-Z]\w*)*", name):
            return name.removeprefix(prefix)
    return name


def _marked(text: str, assertion: Assertion, statement: str) -> str:
    """Return a statement with the mark."""
    line = text[: assertion.start].rpartition("\n")[2]
    rest = text[assertion.end :].partition("\n")[0]
    if line.strip() or rest.strip():
        return f"{statement} /* {MARK} */"
    comment = f"// {MARK}"
    if len(line) + len(statement) + 1 + len(comment) <= _MAX_LINE_CHARACTERS:
        return f"{statement} {comment}"
    return f"{comment}\n{line}{statement}"


def _lines_of(text: str, assertion: Assertion) -> tuple[int, int]:
    """Return the range of an assertion, with its lines if there is nothing else in them."""
    start = text.rfind("\n", 0, assertion.start) + 1
    end = text.find("\n", assertion.end)
    rest = text[start : assertion.start] + text[assertion.end : max(end, assertion.end)]
    if end == -1 or rest.strip():
        return assertion.start, assertion.end
    return start, end + 1

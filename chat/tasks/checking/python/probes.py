"""Further tests of a Python function: its calls in given tests, with other arguments.

The tests expect `...`, which nothing returns; `python.observing` puts in what was observed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from chat.tasks.checking.python.literals import with_double_quotes
from chat.tasks.checking.python.samples import SAMPLE_FILE, constants_in, sample_calls
from chat.tasks.checking.python.value_types import Expression
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject, free_name, indent

_MAX_VARIATIONS = 24
_MAX_PROBES = 40
_MAX_CALLS = 3
_MAX_STATEMENTS = 3
_MAX_CHARACTERS = 300
_MAX_WORDS = 50
_FILE = 'path = tmp_path / "input.txt"\npath.write_text("first line\\nsecond line\\n")\n'
_IMPORTS = "import contextlib\nimport io\nimport pytest\nfrom unittest.mock import Mock, call"
"""What the tests may need. Those that they do not use are left out."""
_PRINTS = re.compile(r"\bprint\(")


class _Literal:
    """A value that is compared by its text, so that a list can be in a set."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return with_double_quotes(repr(self.value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Literal) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of the subject whose arguments are literals."""

    before: str
    """The expression that is called, such as `Account(5).pay`."""
    arguments: tuple[tuple[str, _Literal], ...]
    """Names (empty for positional arguments) and values."""
    fakes: tuple[str, ...] = ()
    """The names of variables that are fakes."""
    is_statement: bool = False
    """Whether the call is a statement of its own, because its result may have no literal."""

    def with_argument(self, index: int, value: _Literal) -> _Call:
        """Return the call with another value of an argument."""
        arguments = list(self.arguments)
        arguments[index] = (arguments[index][0], value)
        return replace(self, arguments=tuple(arguments))

    @property
    def text(self) -> str:
        """The call as an expression."""
        arguments = (f"{name}={value!r}" if name else repr(value) for name, value in self.arguments)
        return f"{self.before}({', '.join(arguments)})"


def probe_tests(tests: Sequence[Snippet], subject: Subject, framework: str) -> GeneratedTests:
    """Return tests with other arguments: variations of those in `tests`, then samples."""
    calls = list(dict.fromkeys(call for test in tests for call in _calls(test.text, subject)))
    probes = [*islice(_variations(calls[:_MAX_CALLS], subject), _MAX_VARIATIONS)]
    probes += [call for call in _samples(subject) if call not in {*calls, *probes}]
    prints = _PRINTS.search(subject.symbol.dedented) is not None
    written: list[Snippet] = []
    taken = {test.name for test in tests}
    for call in probes[:_MAX_PROBES]:
        words = _words(call)[:_MAX_WORDS].strip("_")
        name = free_name(f"test_{subject.snake_case}_of_{words}", taken)
        taken.add(name)
        text = _test(name, call, framework, prints=prints)
        if text is not None:
            written.append(Snippet(name, text))
    return GeneratedTests((_IMPORTS,), (), tuple(written))


def _samples(subject: Subject) -> Iterator[_Call]:
    calls = [
        _Call(each.before, tuple(("", _Literal(value)) for value in each.values), each.fakes)
        for each in sample_calls(subject)
    ]
    for number, call in enumerate(calls):
        yield call
        if call.fakes and number < _MAX_STATEMENTS:
            yield replace(call, is_statement=True)


def _words(call: _Call) -> str:
    """Return the arguments of a call as a part of a name."""
    words = [_word(argument.value) for _, argument in call.arguments]
    return "_and_".join(words) or "nothing"


def _word(value: object) -> str:
    if value is SAMPLE_FILE:
        return "a_file"
    if isinstance(value, Expression):
        return "_".join(re.findall(r"\w+", repr(value))).lower()
    if isinstance(value, str | list | tuple | dict | set | bytes):
        kind = {"str": "text", "bytes": "data"}.get(type(value).__name__, type(value).__name__)
        size = {0: "empty_", 1: "short_" if isinstance(value, str) else "single_"}
        return f"{size.get(len(value), '')}{kind}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        words = repr(abs(value)).replace(".", "_point_").replace("-", "_").replace("+", "_")
        return f"minus_{words}" if value < 0 else words
    return repr(value).lower()


def _test(name: str, call: _Call, framework: str, *, prints: bool) -> str | None:
    """Return a test of a call, None if the framework has no short form for it."""
    has_file = any(argument.value is SAMPLE_FILE for _, argument in call.arguments)
    before = (_FILE if has_file else "") + "".join(f"{name} = Mock()\n" for name in call.fakes)
    if framework == "pytest":
        fixtures = ["tmp_path"] * has_file + ["capsys"] * prints
        body = before + _pytest_body(call, prints=prints)
        return f"def {name}({', '.join(fixtures)}):\n{indent(body)}"
    if has_file:
        return None
    return f"def {name}(self):\n{indent(before + _unittest_body(call, prints=prints))}"


def _pytest_body(call: _Call, *, prints: bool) -> str:
    if prints:
        return f"{call.text}\nassert capsys.readouterr().out == ..."
    calls = "".join(f"\nassert {name}.mock_calls == ..." for name in call.fakes)
    return (call.text if call.is_statement else f"assert {call.text} == ...") + calls


def _unittest_body(call: _Call, *, prints: bool) -> str:
    if prints:
        body = "output = io.StringIO()\nwith contextlib.redirect_stdout(output):\n"
        return body + f"    {call.text}\nself.assertEqual(output.getvalue(), ...)"
    calls = "".join(f"\nself.assertEqual({name}.mock_calls, ...)" for name in call.fakes)
    return (call.text if call.is_statement else f"self.assertEqual({call.text}, ...)") + calls


def _calls(test: str, subject: Subject) -> Iterator[_Call]:
    """Yield the calls of the subject in a test, if all their arguments are literals."""
    try:
        tree = ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    objects = dict(_objects(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (before := _called(node, subject, objects)):
            arguments = _literals(node)
            if arguments is not None and len(ast.unparse(node)) <= _MAX_CHARACTERS:
                yield _Call(before, arguments)


def _objects(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield names that a test gives to the result of a call with literals, and these calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            target = node.targets[0]
            if isinstance(target, ast.Name) and _literals(node.value) is not None:
                yield target.id, ast.unparse(node.value)


def _called(node: ast.Call, subject: Subject, objects: dict[str, str]) -> str:
    """Return the called expression if it is the subject, else ""."""
    function, name = node.func, subject.symbol.name
    if not subject.class_name:
        is_subject = isinstance(function, ast.Name) and function.id == name
        return name if is_subject else ""
    if not isinstance(function, ast.Attribute):
        return ""
    is_method = subject.symbol.kind == "function"
    if is_method and function.attr != name:
        return ""
    owner = function.value
    if isinstance(owner, ast.Name):
        created = objects.get(owner.id, owner.id if owner.id == subject.class_name else "")
        return f"{created}.{function.attr}" if created.startswith(subject.class_name) else ""
    is_created = isinstance(owner, ast.Call) and _literals(owner) is not None
    created = ast.unparse(owner) if is_created else ""
    return f"{created}.{function.attr}" if created.startswith(subject.class_name) else ""


def _literals(node: ast.Call) -> tuple[tuple[str, _Literal], ...] | None:
    """Return the names and values of the arguments, None if one is no literal."""
    arguments: list[tuple[str, _Literal]] = []
    try:
        for argument in node.args:
            arguments.append(("", _Literal(ast.literal_eval(argument))))
        for keyword in node.keywords:
            if keyword.arg is None:
                return None
            arguments.append((keyword.arg, _Literal(ast.literal_eval(keyword.value))))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return tuple(arguments)


def _variations(calls: Sequence[_Call], subject: Subject) -> Iterator[_Call]:
    """Yield calls with one other argument; all arguments get their turn."""
    seen = set(calls)
    constants = constants_in(subject.symbol.dedented)
    pending = [
        (call, index, chain(_others(argument.value), _like(argument.value, constants)))
        for call in calls
        for index, (_, argument) in enumerate(call.arguments)
    ]
    while pending:
        call, index, others = pending.pop(0)
        for value in others:
            variation = call.with_argument(index, _Literal(value))
            if variation not in seen:
                seen.add(variation)
                yield variation
                pending.append((call, index, others))
                break


def _like(value: object, constants: Sequence[object]) -> Iterator[object]:
    """Yield the constants of the same type as a value."""
    return (constant for constant in constants if type(constant) is type(value))


def _others(value: object) -> Iterator[object]:
    """Yield values of the same type that functions often treat differently."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (0, -value if value else -1, value + 1, value - 1, value * 10 + 7)
    elif isinstance(value, float):
        yield from (0.0, -value, value + 0.5)
    elif isinstance(value, str):
        yield from ("", value.upper(), f" {value} ", value[:1], f"{value} {value}")
    elif isinstance(value, list | tuple):
        yield from (value[:0], value[:1], value[::-1], value * 2)
    elif isinstance(value, dict):
        yield from ({}, dict(list(value.items())[:1]))

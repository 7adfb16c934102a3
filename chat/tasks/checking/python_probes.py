"""Further tests of a Python function: its calls in given tests, with other arguments.

The tests expect `...`, which nothing returns; `python_observing` puts in what was observed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject, free_name, indent

_MAX_PROBES = 16
_MAX_CALLS = 3
_MAX_CHARACTERS = 300
_PRINTS = re.compile(r"\bprint\(")


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of the subject whose arguments are literals."""

    before: str
    """The expression that is called, such as `Account(5).pay`."""
    arguments: tuple[tuple[str, object], ...]
    """Names (empty for positional arguments) and values."""

    def with_argument(self, index: int, value: object) -> _Call:
        """Return the call with another value of an argument."""
        arguments = list(self.arguments)
        arguments[index] = (arguments[index][0], value)
        return _Call(self.before, tuple(arguments))

    @property
    def text(self) -> str:
        """The call as an expression."""
        arguments = (f"{name}={value!r}" if name else repr(value) for name, value in self.arguments)
        return f"{self.before}({', '.join(arguments)})"


def probe_tests(tests: Sequence[Snippet], subject: Subject, framework: str) -> GeneratedTests:
    """Return tests with other arguments than the given ones; none if no call has only literals."""
    calls = list(dict.fromkeys(call for test in tests for call in _calls(test.text, subject)))
    probes = islice(_variations(calls[:_MAX_CALLS], subject), _MAX_PROBES)
    prints = _PRINTS.search(subject.symbol.dedented) is not None
    written: list[Snippet] = []
    taken = {test.name for test in tests}
    for what, call in probes:
        name = free_name(f"test_{subject.snake_case}_{what}", taken)
        taken.add(name)
        written.append(Snippet(name, _test(name, call.text, framework, prints=prints)))
    imports = ("import contextlib", "import io") if prints and framework == "unittest" else ()
    return GeneratedTests(imports, (), tuple(written))


def _test(name: str, call: str, framework: str, *, prints: bool) -> str:
    if framework == "pytest":
        if prints:
            body = f"{call}\nassert capsys.readouterr().out == ..."
            return f"def {name}(capsys):\n{indent(body)}"
        return f"def {name}():\n    assert {call} == ..."
    if prints:
        body = "output = io.StringIO()\nwith contextlib.redirect_stdout(output):\n"
        body += f"    {call}\nself.assertEqual(output.getvalue(), ...)"
        return f"def {name}(self):\n{indent(body)}"
    return f"def {name}(self):\n    self.assertEqual({call}, ...)"


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
        made = objects.get(owner.id, owner.id if owner.id == subject.class_name else "")
        return f"{made}.{function.attr}" if made.startswith(subject.class_name) else ""
    is_made = isinstance(owner, ast.Call) and _literals(owner) is not None
    made = ast.unparse(owner) if is_made else ""
    return f"{made}.{function.attr}" if made.startswith(subject.class_name) else ""


def _literals(node: ast.Call) -> tuple[tuple[str, object], ...] | None:
    """Return the names and values of the arguments, None if one is no literal."""
    arguments: list[tuple[str, object]] = []
    try:
        for argument in node.args:
            arguments.append(("", _hashable(ast.literal_eval(argument))))
        for keyword in node.keywords:
            if keyword.arg is None:
                return None
            arguments.append((keyword.arg, _hashable(ast.literal_eval(keyword.value))))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return tuple(arguments)


class _Literal:
    """A value that is compared by its text, so that a list can be in a set."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Literal) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


def _hashable(value: object) -> _Literal:
    return _Literal(value)


def _variations(calls: Sequence[_Call], subject: Subject) -> Iterator[tuple[str, _Call]]:
    """Yield calls with one other argument, and words for them; all arguments get their turn."""
    names = _parameters(subject)
    seen = set(calls)
    pending = [
        (name, call, index, iter(_others(value)))
        for call in calls
        for index, (keyword, value) in enumerate(call.arguments)
        for name in [keyword or (names[index] if index < len(names) else f"argument_{index + 1}")]
    ]
    while pending:
        name, call, index, others = pending.pop(0)
        for word, value in others:
            variation = call.with_argument(index, _hashable(value))
            if variation not in seen:
                seen.add(variation)
                yield f"{word}_{name.strip('_')}", variation
                pending.append((name, call, index, others))
                break


def _parameters(subject: Subject) -> list[str]:
    """Return the names of the subject's parameters, without `self` and `cls`."""
    try:
        (node,) = ast.parse(subject.symbol.dedented).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def _others(argument: object) -> Iterator[tuple[str, object]]:
    """Yield values of the same type that functions often treat differently, with a word each."""
    value = argument.value if isinstance(argument, _Literal) else argument
    if isinstance(value, bool):
        yield "other", not value
    elif isinstance(value, int):
        yield "zero", 0
        yield "negative", -value if value else -1
        yield "larger", value + 1
        yield "smaller", value - 1
        yield "large", value * 10 + 7
    elif isinstance(value, float):
        yield "zero", 0.0
        yield "negative", -value
        yield "larger", value + 0.5
    elif isinstance(value, str):
        yield "empty", ""
        yield "upper_case", value.upper()
        yield "padded", f" {value} "
        yield "short", value[:1]
        yield "doubled", f"{value} {value}"
    elif isinstance(value, list | tuple):
        yield "empty", value[:0]
        yield "single", value[:1]
        yield "reversed", value[::-1]
        yield "doubled", value * 2
    elif isinstance(value, dict):
        yield "empty", {}
        yield "single", dict(list(value.items())[:1])

"""Calls of a Python function: those in given tests, and their arguments as code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chat.tasks.checking.python.literals import with_double_quotes
from chat.tasks.checking.python.value_types import Expression
from chat.tasks.dialects.base import Subject

_MAX_CHARACTERS = 300


class Literal:
    """A value that is compared by its text, so that a list can be in a set.

    Values whose text is the same variable are compared themselves.
    """

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return with_double_quotes(repr(self.value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> object:
        return (repr(self), self.value if isinstance(self.value, Expression) else None)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the subject whose arguments are literals."""

    before: str
    """The expression that is called, such as `Account(5).pay`."""
    arguments: tuple[tuple[str, Literal], ...]
    """Names (empty for positional arguments) and values."""
    fakes: tuple[str, ...] = ()
    """The names of variables that are fakes."""
    is_statement: bool = False
    """Whether the call is a statement of its own, because its result may have no literal."""

    def with_argument(self, index: int, value: Literal) -> Call:
        """Return the call with another value of an argument."""
        arguments = list(self.arguments)
        arguments[index] = (arguments[index][0], value)
        return replace(self, arguments=tuple(arguments))

    @property
    def text(self) -> str:
        """The call as an expression."""
        arguments = (f"{name}={value!r}" if name else repr(value) for name, value in self.arguments)
        return f"{self.before}({', '.join(arguments)})"


def calls_in(test: str, subject: Subject) -> Iterator[Call]:
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
                yield Call(before, arguments)


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


def _literals(node: ast.Call) -> tuple[tuple[str, Literal], ...] | None:
    """Return the names and values of the arguments, None if one is no literal."""
    arguments: list[tuple[str, Literal]] = []
    try:
        for argument in node.args:
            arguments.append(("", Literal(ast.literal_eval(argument))))
        for keyword in node.keywords:
            if keyword.arg is None:
                return None
            arguments.append((keyword.arg, Literal(ast.literal_eval(keyword.value))))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return tuple(arguments)

"""Arguments that are no literals: dates, objects of the same file, functions, and fakes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

_Function = ast.FunctionDef | ast.AsyncFunctionDef

_OF_LIBRARY: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"(?:datetime\.)?datetime", ("(2024, 2, 29, 12, 30)", "(2023, 12, 31, 23, 59)")),
    (r"(?:datetime\.)?date", ("(2024, 2, 29)", "(2024, 3, 4)", "(2023, 12, 31)")),
    (r"(?:datetime\.)?time", ("(9, 30)", "(0, 0)")),
    (r"(?:datetime\.)?timedelta", ("(days=1)", "(0)", "(hours=-36)")),
    (r"(?:decimal\.)?Decimal", ('("2.50")', '("0")', '("-1")')),
    (r"(?:fractions\.)?Fraction", ("(1, 3)", "(0)")),
)
"""Types of the standard library, and arguments that make values of them."""
_BUILT_IN = frozenset(
    name for kind in (str, bytes, list, dict, set, tuple, int, float, complex) for name in dir(kind)
)
"""Methods of values that have literals. An object with other methods is a dependency."""
_DATES = frozenset(
    {"strftime", "isoformat", "weekday", "date", "time", "timestamp", "total_seconds"}
)
_LITERALS = {"int": "3", "str": '"a"', "float": "2.5", "bool": "True", "list": "[3, 1, 2]"}
_MAX_MEMBERS = 4
_MAX_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Expression:
    """A value without a literal. Its representation is the code that makes it."""

    text: str

    def __repr__(self) -> str:
        return self.text


def find_function(code: str, name: str, class_name: str = "") -> _Function | None:
    """Return a function or method that code defines, None if it does not."""
    for node in _body(code):
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return _method(node, name)
        if isinstance(node, _Function) and not class_name and node.name == name:
            return node
    return None


def _body(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


class Types:
    """The types that one file defines or imports."""

    def __init__(self, code: str) -> None:
        self._classes = {node.name: node for node in _body(code) if isinstance(node, ast.ClassDef)}

    def expressions(self, annotation: str) -> tuple[Expression, ...]:
        """Return values of an annotated type, empty if it has literals or is not known."""
        name = re.sub(r"\s*\|\s*None|^Optional\[(.*)\]$", r"\1", annotation.strip("\"'"))
        for pattern, arguments in _OF_LIBRARY:
            if re.fullmatch(pattern, name):
                return tuple(Expression(name + each) for each in arguments)
        if re.match(r"(?:\w+\.)*Callable\b", name):
            return (_callable(name),)
        if name in self._classes:
            texts = [*self._members(name), self.construction(name)]
            return tuple(Expression(each) for each in texts if each is not None)
        return ()

    def _members(self, name: str) -> Iterator[str]:
        """Yield the members of an enumeration."""
        node = self._classes[name]
        if any("Enum" in ast.unparse(base) for base in node.bases):
            values = (each for each in node.body if isinstance(each, ast.Assign))
            for value in islice(values, _MAX_MEMBERS):
                yield f"{name}.{ast.unparse(value.targets[0])}"

    def construction(self, name: str) -> str | None:
        """Return an expression that makes an object of a class, None if that is not clear.

        It is clear if all that the class needs is annotated with types that have literals.
        """
        node = self._classes.get(name)
        if node is None:
            return None
        needed = _needed_types(node)
        values = [self._literal(each) for each in needed]
        if None in values or len(values) > _MAX_FIELDS:
            return None
        return f"{name}({', '.join(str(value) for value in values)})"

    def _literal(self, annotation: str) -> str | None:
        plain = annotation.partition("[")[0].strip("\"'")
        for pattern, arguments in _OF_LIBRARY:
            if re.fullmatch(pattern, plain):
                return plain + arguments[0]
        return _LITERALS.get(plain)

    def public_methods(self, class_name: str) -> list[str]:
        """Return the names of the methods of a class that anybody may call."""
        node = self._classes.get(class_name)
        methods = [each for each in node.body if isinstance(each, _Function)] if node else []
        return [each.name for each in methods if not each.name.startswith("_")]

    def is_dependency(self, function: _Function, name: str) -> bool:
        """Whether a function calls methods of a parameter that only an object of the user has."""
        arguments = [*function.args.posonlyargs, *function.args.args]
        annotation = next(_source(each.annotation) for each in arguments if each.arg == name)
        return self._may_be_faked(annotation) and _is_of_user(_called_methods(function, name))

    def dependencies_of_class(self, class_name: str, names: Sequence[str]) -> tuple[str, ...]:
        """Return the parameters of a constructor whose objects the methods call."""
        node = self._classes.get(class_name)
        function = _method(node, "__init__") if node is not None else None
        if node is None or function is None:
            return ()
        attributes = {
            assigned.value.id: ast.unparse(target)
            for assigned in ast.walk(function)
            if isinstance(assigned, ast.Assign) and isinstance(assigned.value, ast.Name)
            for target in assigned.targets
        }
        annotations = {each.arg: _source(each.annotation) for each in function.args.args}
        return tuple(
            name
            for name in names
            if self._may_be_faked(annotations.get(name, ""))
            and _is_of_user(_called_methods(node, attributes.get(name, "")))
        )

    def _may_be_faked(self, annotation: str) -> bool:
        plain = annotation.strip("\"'")
        return re.fullmatch(r"[A-Z]\w*|\w+(?:\.\w+)*\.[A-Z]\w*|Any|", plain) is not None and (
            not self.expressions(plain)
        )


def _method(node: ast.ClassDef, name: str) -> _Function | None:
    methods = (each for each in node.body if isinstance(each, _Function) and each.name == name)
    return next(methods, None)


def _needed_types(node: ast.ClassDef) -> list[str]:
    """Return the annotations of what a class needs to make an object."""
    if (function := _method(node, "__init__")) is not None:
        arguments = function.args.args[1:]
        num_needed = len(arguments) - len(function.args.defaults)
        return [_source(each.annotation) for each in arguments[:num_needed]]
    is_data = any("dataclass" in ast.unparse(each) for each in node.decorator_list)
    is_tuple = any(ast.unparse(base).endswith("NamedTuple") for base in node.bases)
    fields = (each for each in node.body if isinstance(each, ast.AnnAssign) and not each.value)
    return [ast.unparse(each.annotation) for each in fields] if is_data or is_tuple else []


def _source(annotation: ast.expr | None) -> str:
    return ast.unparse(annotation) if annotation is not None else ""


def _called_methods(node: ast.AST, owner: str) -> set[str]:
    """Return the names of the methods of an expression that code calls."""
    functions = (each.func for each in ast.walk(node) if isinstance(each, ast.Call))
    attributes = (each for each in functions if isinstance(each, ast.Attribute))
    return {each.attr for each in attributes if ast.unparse(each.value) == owner}


def _is_of_user(methods: set[str]) -> bool:
    """Whether one of these methods is not one of a value that has a literal, or of a date."""
    return bool(methods - _BUILT_IN - _DATES)


def _callable(annotation: str) -> Expression:
    """Return a function with the annotated number of arguments."""
    match = re.search(r"Callable\[\[(.*?)\], (.*)\]$", annotation)
    parameters = [each for each in match[1].split(",") if each.strip()] if match else ["value"]
    result = _LITERALS.get(match[2], "None") if match else "value"
    names = ", ".join(["value", "other", "third", "fourth"][: len(parameters)])
    if match and parameters and match[2] == parameters[0].strip():
        result = "value"
    return Expression(f"lambda {names}: {result}" if names else f"lambda: {result}")

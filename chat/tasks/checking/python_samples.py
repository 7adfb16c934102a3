"""Arguments for a Python function of which only the signature is known."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from chat.tasks.dialects.base import Subject

_Values = tuple[object, ...]

_NUMBERS: _Values = (3, 0, -2, 10)
_FLOATS: _Values = (2.5, 0.0, -1.5)
_TEXTS: _Values = ("Hello World", "", "a1, b2", "x")
_LISTS: _Values = ([3, 1, 2], [], [5], [[1, 2], [3]])
_LISTS_OF_TEXTS: _Values = (["b", "a", "b"], [], ["x"])
_DICTIONARIES: _Values = ({"a": 1, "b": 2}, {})
_ANY: _Values = (3, "Hello World", [3, 1, 2], {"a": 1, "b": 2}, [[1, 2], [3]], "", [], 0, 2.5)

_BY_TYPE: tuple[tuple[str, _Values], ...] = (
    (r"(list|List|Sequence|Iterable|Iterator|Collection)\[str\]", _LISTS_OF_TEXTS),
    (r"(list|List|Sequence|Iterable|Iterator|Collection)\[float\]", ([2.5, 1.0, 4.0], [], [0.5])),
    (r"list|List|Sequence|Iterable|Iterator|Collection", _LISTS),
    (r"dict|Dict|Mapping", _DICTIONARIES),
    (r"tuple|Tuple", ((3, 1, 2), ())),
    (r"set|Set", ({1, 2, 3}, set[int]())),
    (r"bool", (True, False)),
    (r"bytes", (b"abc", b"")),
    (r"float|complex|Decimal", _FLOATS),
    (r"int", _NUMBERS),
    (r"str|Text", _TEXTS),
)
"""Patterns of annotations, and values of these types."""
_BY_NAME: tuple[tuple[str, _Values], ...] = (
    (r"text|string|word|name|line|title|sentence|char|prefix|suffix|key|code|^s$", _TEXTS),
    (r"names|words|lines|strings|keys", _LISTS_OF_TEXTS),
    (r"items|values|numbers|list|array|rows|data|elements|scores|prices|^xs$", _LISTS),
    (r"^(n|m|i|j|k|x|y|a|b)$|count|index|size|width|height|year|month|day|age|limit|low|high"
     r"|start|end|step|num|amount|total|value|length|number", _NUMBERS),
    (r"rate|ratio|factor|weight|temperature|percent", _FLOATS),
    (r"mapping|dict|counts|table|config|options", _DICTIONARIES),
    (r"flag|^is_|^has_|enabled", (True, False)),
)  # fmt: skip
"""Patterns of parameter names without annotation, and values that they often have."""
_FILE = re.compile(r"path|file")
_MAX_PARAMETERS = 4
_MAX_STRING = 20
_MAX_CALLS = 24


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function."""

    names: tuple[str, ...]
    annotations: tuple[str, ...]
    """The annotations as text, empty where there is none."""
    defaults: tuple[str, ...]
    """The default values as text, empty where there is none."""

    @property
    def required(self) -> range:
        """The indices of the parameters without a default value."""
        return range(sum(not default for default in self.defaults))


def constants_in(code: str) -> tuple[object, ...]:
    """Return values at the borders that a function's constants draw, and its short strings."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    values: dict[str, object] = {}
    for node in nodes:
        constant = node.value if isinstance(node, ast.Constant) else None
        if isinstance(constant, int) and not isinstance(constant, bool):
            values |= {repr(value): value for value in (constant, constant + 1, constant - 1)}
        elif isinstance(constant, str) and len(constant) <= _MAX_STRING:
            values[repr(constant)] = constant
    return tuple(values.values())


def _function(
    code: str, name: str, class_name: str = ""
) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return a function or method that code defines, None if it does not."""
    try:
        body: Sequence[ast.stmt] = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if class_name:
        classes = (n for n in body if isinstance(n, ast.ClassDef) and n.name == class_name)
        body = next((node.body for node in classes), ())
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return node
    return None


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Signature | None:
    """Return a signature without `self` and `cls`; None if some parameters must be keywords."""
    if any(default is None for default in node.args.kw_defaults):
        return None
    arguments = [*node.args.posonlyargs, *node.args.args]
    missing = len(arguments) - len(node.args.defaults)
    defaults = [""] * missing + [ast.unparse(default) for default in node.args.defaults]
    if arguments and arguments[0].arg in ("self", "cls"):
        arguments, defaults = arguments[1:], defaults[1:]
    annotations = (ast.unparse(each.annotation) if each.annotation else "" for each in arguments)
    return Signature(tuple(each.arg for each in arguments), tuple(annotations), tuple(defaults))


class _SampleFile:
    """Stands for a file that the test writes. Its text in a call is the variable `path`."""

    def __repr__(self) -> str:
        return "path"


SAMPLE_FILE = _SampleFile()


def sample_calls(subject: Subject) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield called expressions and arguments for a subject, with values that fit its signature."""
    symbol, class_name = subject.symbol, subject.class_name
    if symbol.kind == "class" or len(symbol.parents) > 1:
        return
    function = _function(subject.text, symbol.name, class_name)
    own = _signature(function) if function is not None else None
    if own is None or len(own.required) > _MAX_PARAMETERS:
        return
    before = symbol.name
    if class_name:
        created = _construction(subject.text, class_name)
        if created is None:
            return
        before = f"{created}.{symbol.name}"
    for arguments in _combinations(own):
        yield before, arguments


def _construction(text: str, class_name: str) -> str | None:
    """Return an expression that makes an object of a class, None if that is not clear."""
    function = _function(text, "__init__", class_name)
    if function is None:
        return f"{class_name}()"
    signature = _signature(function)
    if signature is None or len(signature.required) > _MAX_PARAMETERS:
        return None
    first = next(_combinations(signature))
    return f"{class_name}({', '.join(map(repr, first))})"


def _combinations(signature: Signature) -> Iterator[tuple[object, ...]]:
    """Yield values for the required parameters; each parameter's first values come first."""
    samples = [_samples(signature, index) for index in signature.required]
    indices = product(*(range(len(each)) for each in samples))
    ordered = sorted(indices, key=lambda chosen: (sum(chosen), chosen))
    for chosen in ordered[:_MAX_CALLS]:
        yield tuple(each[index] for each, index in zip(samples, chosen, strict=True))


def _samples(signature: Signature, index: int) -> tuple[object, ...]:
    annotation, name = signature.annotations[index], signature.names[index]
    if _FILE.search(name) and re.fullmatch(r"|str|.*Path.*", annotation):
        return (SAMPLE_FILE, *(() if annotation else _ANY))
    optional: tuple[object, ...] = (None,) if re.search("None|Optional", annotation) else ()
    for pattern, values in _BY_TYPE:
        if annotation and re.search(rf"\b(?:{pattern})", annotation):
            return (*values, *optional)
    for pattern, values in _BY_NAME:
        if not annotation and re.search(pattern, name):
            return (*values, *(value for value in _ANY if type(value) not in map(type, values)))
    return _ANY

"""Arguments for a Python function of which only the signature is known."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from chat.tasks.checking.python.literals import with_double_quotes
from chat.tasks.checking.python.value_types import Expression, Types, find_function
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
    (r"set|Set|frozenset", ({1, 2, 3}, set[int]())),
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
_MIN_CALLS = 3
_MAX_OBJECTS = 6
_MAX_PRODUCT = 10_000


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


@dataclass(frozen=True, slots=True, repr=False)
class SampleFile(Expression):
    """A file that the test writes. Its text in a call is the variable `path`."""

    content: str

    @property
    def writing(self) -> str:
        """The statement that writes the file."""
        return f"path.write_text({with_double_quotes(repr(self.content))})"


_FILES = tuple(
    SampleFile("path", content)
    for content in (
        "first line\nsecond line\n",
        "",
        "a = 1\n# b\nc=2\n",
        "a,b\n1,2\n",
        '{"a": 1}\n',
    )
)
"""Files with words, with settings, with a table, and with JSON; and an empty one."""


@dataclass(frozen=True, slots=True)
class SampleCall:
    """A call of the subject."""

    before: str
    """The expression that is called, such as `Account(5).pay`."""
    values: tuple[object, ...]
    fakes: tuple[str, ...] = ()
    """The names of the arguments, of the function or of its object, that are fakes."""


def sample_calls(subject: Subject) -> Iterator[SampleCall]:
    """Yield calls of a subject, with values that fit its signature.

    For a class these are calls of its public methods.
    """
    symbol, class_name = subject.symbol, subject.class_name
    if len(symbol.parents) > (symbol.kind == "function"):
        return
    types = Types(subject.text)
    if not class_name:
        yield from _calls_of(subject.text, symbol.name, "", "", types)
        return
    objects = list(_objects(subject.text, class_name, types))
    if symbol.kind == "function":
        yield from _method_calls(subject.text, symbol.name, class_name, objects, types)
        return
    methods = types.public_methods(class_name)
    count = max(_MIN_CALLS, _MAX_CALLS // max(1, len(methods)))
    for name in methods:
        yield from islice(_method_calls(subject.text, name, class_name, objects, types), count)


def _method_calls(
    text: str, name: str, class_name: str, objects: Sequence[_Object], types: Types
) -> Iterator[SampleCall]:
    """Yield calls: all arguments with the first object, and all objects with the first ones."""
    calls = [list(_calls_of(text, name, class_name, f"{o.text}.", types)) for o in objects]
    pairs = dict.fromkeys(
        [(0, number) for number in range(len(calls[0]) if calls else 0)]
        + [(number, 0) for number in range(len(objects))]
        + list(product(range(1, len(objects)), range(1, 3)))
    )
    for number, chosen in pairs:
        if chosen < len(calls[number]):
            call = calls[number][chosen]
            fakes = dict.fromkeys((*objects[number].fakes, *call.fakes))
            yield replace(call, fakes=tuple(fakes))


def _calls_of(
    text: str, name: str, class_name: str, owner: str, types: Types
) -> Iterator[SampleCall]:
    """Yield calls of one function, with `owner` before its name."""
    function = find_function(text, name, class_name)
    own = _signature(function) if function is not None else None
    if function is None or own is None or len(own.required) > _MAX_PARAMETERS:
        return
    fakes = tuple(each for each in own.names if types.is_dependency(function, each))
    for values in _combinations(own, types, fakes):
        yield SampleCall(owner + name, values, fakes)


@dataclass(frozen=True, slots=True)
class _Object:
    text: str
    """An expression that makes the object."""
    fakes: tuple[str, ...] = ()


def _objects(text: str, class_name: str, types: Types) -> Iterator[_Object]:
    """Yield expressions that make an object of a class; none if that is not clear."""
    function = find_function(text, "__init__", class_name)
    if function is None:
        yield _Object(types.construction(class_name) or f"{class_name}()")
        return
    signature = _signature(function)
    if signature is None or len(signature.required) > _MAX_PARAMETERS:
        return
    fakes = types.dependencies_of_class(class_name, signature.names)
    for values in islice(_combinations(signature, types, fakes), _MAX_OBJECTS):
        yield _Object(f"{class_name}({', '.join(map(repr, values))})", fakes)


def _combinations(
    signature: Signature, types: Types, fakes: Sequence[str]
) -> Iterator[tuple[object, ...]]:
    """Yield values for the required parameters; each parameter's first values come first."""
    samples = [_samples(signature, index, types, fakes) for index in signature.required]
    indices = product(*(range(len(each)) for each in samples))
    ordered = sorted(islice(indices, _MAX_PRODUCT), key=lambda chosen: (sum(chosen), chosen))
    for chosen in ordered[:_MAX_CALLS]:
        yield tuple(each[index] for each, index in zip(samples, chosen, strict=True))


def _samples(
    signature: Signature, index: int, types: Types, fakes: Sequence[str]
) -> tuple[object, ...]:
    annotation, name = signature.annotations[index], signature.names[index]
    if name in fakes:
        return (Expression(name),)
    if _FILE.search(name) and re.fullmatch(r"|str|.*Path.*", annotation):
        return (*_FILES, *(() if annotation else _ANY))
    optional: tuple[object, ...] = (None,) if re.search("None|Optional", annotation) else ()
    if expressions := types.expressions(annotation):
        return (*expressions, *optional)
    for pattern, values in _BY_TYPE:
        if annotation and re.search(rf"\b(?:{pattern})", annotation):
            return (*values, *optional)
    for pattern, values in _BY_NAME:
        if not annotation and re.search(pattern, name):
            return (*values, *(value for value in _ANY if type(value) not in map(type, values)))
    return _ANY

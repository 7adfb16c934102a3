"""Arguments for a function of JavaScript or TypeScript of which only the signature is known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import tree_sitter

from chat.tasks.checking.javascript.calls import text_of
from chat.tasks.checking.javascript.declared_types import DeclaredTypes
from chat.tasks.checking.javascript.literals import Code, NotLiteralError, literal, value_of
from chat.tasks.dialects.base import Subject
from syntax.grammars import parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

_Values = tuple[object, ...]

_NUMBERS: _Values = (3, 0, -2, 10, 2.5)
_TEXTS: _Values = ("Hello World", "", "a1, b2", "x")
_LISTS: _Values = ([3, 1, 2], [], [5], [[1, 2], [3]])
_LISTS_OF_TEXTS: _Values = (["b", "a", "b"], [], ["x"])
_OBJECTS: _Values = ({"a": 1, "b": 2}, {})
_FLAGS: _Values = (True, False)
_ANY: _Values = (3, "Hello World", [3, 1, 2], {"a": 1, "b": 2}, [[1, 2], [3]], "", [], 0)

_BY_TYPE: tuple[tuple[str, _Values], ...] = (
    ("number", _NUMBERS),
    ("string", _TEXTS),
    ("boolean", _FLAGS),
    ("any|unknown", _ANY),
    (r"(?:readonly )?(?:number|any|unknown)\[\]\[\]", ([[1, 2], [3]], [])),
    (r"(?:readonly )?string\[\]|(?:Readonly)?Array<string>|Iterable<string>", _LISTS_OF_TEXTS),
    (r"(?:readonly )?boolean\[\]", ([True, False], [])),
    (r"(?:readonly )?number\[\]|(?:Readonly)?Array<number>|Iterable<number>", _LISTS[:3]),
    (r"(?:readonly )?(?:[A-Z]|any|unknown)\[\]|(?:Readonly)?Array<(?:[A-Z]|any|unknown)>", _LISTS),
    (r"Record<string, ?(?:number|any|unknown)>|object", _OBJECTS),
    (r"[A-Z]", _ANY),
    (r"\(.*\) => boolean", (Code("() => true"), Code("() => false"))),
)
"""Patterns of annotations, and values of these types."""
_BY_NAME: tuple[tuple[str, _Values], ...] = (
    (r"(?i)predicate|^pred$|filter|^test$", (Code("(x) => x > 1"),)),
    (r"(?i)^compare|comparator", (Code("(a, b) => a - b"),)),
    (r"(?i)callback|^fn$|^func$|^cb$|mapper|iteratee|transform", (Code("(x) => x"),)),
    (r"(?i)names|words|lines|strings|keys|tags", _LISTS_OF_TEXTS),
    (r"(?i)text|string|^str$|word|name|line|title|sentence|char|prefix|suffix|key|code|query|url"
     r"|path|file|^s$", _TEXTS),
    (r"(?i)items|values|numbers|nums|list|arr|rows|data|elements|scores|prices|^xs$", _LISTS),
    (r"(?i)^(n|m|i|j|k|x|y|a|b)$|count|index|size|width|height|year|month|day|age|limit|low|high"
     r"|min|max|start|end|stop|step|num|amount|total|value|length|rate|ratio|factor|digits"
     r"|capacity|places|^id$", _NUMBERS),
    (r"(?i)mapping|dict|counts|table|config|options|opts|obj|record|first|second|target|source",
     _OBJECTS),
    (r"(?i)flag|^is[A-Z_]|^has[A-Z_]|enabled", _FLAGS),
)  # fmt: skip
"""Patterns of parameter names without annotation, and values that they often have."""
SAMPLE_FILE = Code("file", "a file")
"""Stands for the path of a file that the test writes, which the test calls `file`."""
_FILE = re.compile(r"^(?:file|path)(?!s)|(?:File|Path|_file|_path)(?:[A-Z_]|Name|name|$)|filepath")
_READS_FILES = re.compile(r"\bfs\b")
_FUNCTIONS = frozenset(
    {
        "function_declaration", "generator_function_declaration", "function_expression",
        "generator_function", "arrow_function", "method_definition",
    }
)  # fmt: skip
_CLASSES = frozenset({"class_declaration", "class", "abstract_class_declaration"})
_CANNOT_CALL = re.compile(r"(?:(?:private|protected|override|readonly) )*(?:get|set|abstract) |#")
_HIDDEN = re.compile(r"(?:private|protected)\b|#")
_MAX_PARAMETERS = 4
_MAX_STRING = 20
_MAX_CALLS = 24


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function."""

    samples: _Values
    """Values for it, the typical one first; empty if its type is not known."""
    is_required: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """How a subject is called, and what is known about its arguments."""

    before: str
    """The expression that is called, such as `new Account(3).pay`; empty if it is not clear."""
    parameters: tuple[Parameter, ...]
    constants: _Values
    """Values at the borders that the function's constants draw, and its short strings."""
    is_async: bool


@dataclass(frozen=True, slots=True)
class _Source:
    """What the file of a function says about values."""

    uses_files: bool
    types: DeclaredTypes


def signature_of(subject: Subject) -> Signature | None:
    """Return the signature of a function or method, None if it cannot be called with samples."""
    symbol = subject.symbol
    root = parse(subject.text, subject.language)
    if symbol.kind == "class" or len(symbol.parents) > 1 or root is None:
        return None
    offsets = ByteOffsets(subject.text)
    start, end = offsets.to_bytes(symbol.start), offsets.to_bytes(symbol.end)
    inside = (node for node in nodes(root) if start <= node.start_byte and node.end_byte <= end)
    function = next((node for node in inside if node.type in _FUNCTIONS), None)
    if function is None:
        return None
    source = _Source(_READS_FILES.search(subject.text) is not None, DeclaredTypes(root, _by_type))
    parameters = tuple(_parameters(function, source))
    before = symbol.name
    if subject.class_name:
        before = _method(function, subject.class_name, symbol.name, source)
    is_async = any(each.type == "async" for each in function.children)
    return Signature(before, parameters, _constants(function), is_async)


def sample_calls(signature: Signature) -> Iterator[_Values]:
    """Yield arguments: first for the parameters that are required, then for all."""
    parameters = signature.parameters
    required = [each for each in parameters if each.is_required]
    if not signature.before or len(required) > _MAX_PARAMETERS:
        return
    count = _MAX_CALLS if len(required) == len(parameters) else _MAX_CALLS * 2 // 3
    yield from _combinations(required, count)
    if len(required) < len(parameters) <= _MAX_PARAMETERS:
        yield from _combinations(parameters, _MAX_CALLS - count)


def _combinations(parameters: Sequence[Parameter], count: int) -> Iterator[_Values]:
    """Yield values for parameters; the first values of each come first."""
    indices = product(*(range(len(each.samples)) for each in parameters))
    for chosen in sorted(indices, key=lambda chosen: (sum(chosen), chosen))[:count]:
        yield tuple(each.samples[i] for each, i in zip(parameters, chosen, strict=True))


def _method(function: tree_sitter.Node, class_name: str, name: str, source: _Source) -> str:
    """Return the expression that calls a method of a new object, empty if that is not clear."""
    body = function.parent
    owner = body.parent if body is not None else None
    head = text_of(function)
    if (
        owner is None
        or owner.type not in _CLASSES
        or _CANNOT_CALL.match(head)
        or _HIDDEN.match(head)
    ):
        return ""
    if any(each.type == "static" for each in function.children):
        return f"{class_name}.{name}"
    if owner.type == "abstract_class_declaration" or body is None:
        return ""
    members = (each for each in body.named_children if each.type == "method_definition")
    constructor = next(
        (each for each in members if text_of(each.child_by_field_name("name")) == "constructor"),
        None,
    )
    if constructor is None:
        inherits = any(each.type == "class_heritage" for each in owner.children)
        return "" if inherits else f"new {class_name}().{name}"
    required = [each for each in _parameters(constructor, source) if each.is_required]
    first = next(_combinations(required[: _MAX_PARAMETERS + 1], 1), None)
    if first is None or len(first) > _MAX_PARAMETERS or _HIDDEN.match(text_of(constructor)):
        return ""
    return f"new {class_name}({', '.join(map(literal, first))}).{name}"


def _parameters(function: tree_sitter.Node, source: _Source) -> Iterator[Parameter]:
    """Yield the parameters of a function."""
    single = function.child_by_field_name("parameter")
    if single is not None:
        yield Parameter(_samples(single, None, source), True)
        return
    parameters = function.child_by_field_name("parameters")
    is_required = True
    for node in parameters.named_children if parameters is not None else ():
        pattern = node.child_by_field_name("pattern") or node.child_by_field_name("left") or node
        if node.type == "comment" or pattern.type == "this":
            continue
        is_optional = node.type in ("optional_parameter", "assignment_pattern")
        if is_optional or node.child_by_field_name("value") is not None:
            is_required = False
        yield Parameter(_samples(pattern, node.child_by_field_name("type"), source), is_required)


def _samples(
    pattern: tree_sitter.Node, annotation: tree_sitter.Node | None, source: _Source
) -> _Values:
    if source.uses_files and pattern.type == "identifier" and _FILE.search(text_of(pattern)):
        type_name = text_of(annotation).lstrip(": ")
        if re.fullmatch(r"|string(?: \| URL)?|(?:fs\.)?PathLike|any|unknown", type_name):
            return (SAMPLE_FILE, *(() if type_name else _ANY))
    is_rest = pattern.type == "rest_pattern"
    if annotation is not None:
        text = " ".join(text_of(annotation).lstrip(":").split())
        plain = _by_type(text.removesuffix("[]") if is_rest else text)
        return plain or (() if is_rest else source.types.values(annotation))
    if is_rest:
        return _ANY
    if pattern.type == "object_pattern":
        return tuple(_objects(pattern))
    return _by_name(text_of(pattern)) if pattern.type == "identifier" else _LISTS


def _objects(pattern: tree_sitter.Node) -> Iterator[object]:
    """Yield objects with the properties that a pattern takes out of one."""
    names = [re.split(r"[=:\s]", text_of(each))[0] for each in pattern.named_children]
    samples = {name: _by_name(name) for name in names if re.fullmatch(r"[A-Za-z_$][\w$]*", name)}
    yield {name: values[0] for name, values in samples.items()}
    yield {name: values[-1] for name, values in samples.items()}


def _by_type(annotation: str) -> _Values:
    types = [each.strip() for each in annotation.split("|")] if "(" not in annotation else []
    if others := [each for each in types if each in ("null", "undefined")]:
        values = _by_type(" | ".join(each for each in types if each not in others))
        return (*values, *((None,) if "null" in others and values else ()))
    matching = (each for pattern, each in _BY_TYPE if re.fullmatch(pattern, annotation))
    return next(matching, ())


def _by_name(name: str) -> _Values:
    for pattern, values in _BY_NAME:
        if re.search(pattern, name):
            others = (each for each in _ANY if type(each) not in map(type, values))
            return (*values, *others)
    return _ANY


def _constants(function: tree_sitter.Node) -> _Values:
    values: dict[str, object] = {}
    for node in nodes(function):
        if not node.is_named or node.type not in ("number", "string"):
            continue  # types have the same names
        try:
            value = value_of(node)
        except NotLiteralError:
            continue
        if isinstance(value, int):
            others: Sequence[object] = (value, value + 1, value - 1)
        else:
            others = (value,) if isinstance(value, str) and len(value) <= _MAX_STRING else ()
        values |= {literal(each): each for each in others}
    return tuple(values.values())

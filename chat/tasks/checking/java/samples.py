"""Arguments for a Java method of which only the signature is known. All values are expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import tree_sitter

from chat.tasks.checking.java.assertions import text_of
from chat.tasks.dialects.base import Subject
from syntax.grammars import parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

Values = tuple[str, ...]

_WHOLE: Values = ("3", "0", "-2", "10", "1", "100")
_FRACTIONS: Values = ("2.5", "0.0", "-1.5", "100.0")
_TEXTS: Values = ('"Hello World"', '""', '"a1, b2"', '"x"')
_FLAGS: Values = ("true", "false")
_SAMPLES: dict[str, Values] = {
    "int": _WHOLE,
    "long": tuple(f"{each}L" for each in _WHOLE),
    "short": tuple(f"(short) {each}" for each in _WHOLE),
    "byte": tuple(f"(byte) {each}" for each in _WHOLE),
    "double": _FRACTIONS,
    "float": tuple(f"{each}f" for each in _FRACTIONS),
    "boolean": _FLAGS,
    "char": ("'a'", "'Z'", "'5'", "' '"),
    "String": (*_TEXTS, "null"),
    "CharSequence": (*_TEXTS, "null"),
}
_BOXED = {
    "Integer": "int", "Long": "long", "Short": "short", "Byte": "byte", "Double": "double",
    "Float": "float", "Boolean": "boolean", "Character": "char",
}  # fmt: skip
_LISTS = re.compile(r"(?:Iterable|Collection|List)<(?:\? extends )?(\w+)>|List|Collection")
_ARRAY = re.compile(r"(\w+)(?:\[\]|\.\.\.)")
_BORDERS = ("int", "long", "double")
_STRINGS = ("String", "CharSequence")
_NUMBERS = ("decimal_integer_literal", "decimal_floating_point_literal")
_MAX_PARAMETERS = 4
_MAX_CALLS = 24
_MAX_STRING = 22


@dataclass(frozen=True, slots=True)
class Signature:
    """How a method is called, and what is known about its arguments."""

    before: str
    """The expression that is called, such as `new Account().pay`."""
    samples: tuple[Values, ...]
    """Values for each parameter, the typical one first; empty if its type is not known."""
    borders: tuple[Values, ...]
    """Values for each parameter at the borders that the method's constants draw."""


def signature_of(subject: Subject) -> Signature | None:
    """Return the signature of a method, None if it cannot be called with samples."""
    root = parse(subject.text, "java")
    if root is None or subject.symbol.kind == "class" or not subject.symbol.parents:
        return None
    offsets, symbol = ByteOffsets(subject.text), subject.symbol
    start, end = offsets.to_bytes(symbol.start), offsets.to_bytes(symbol.end)
    inside = (node for node in nodes(root) if start <= node.start_byte and node.end_byte <= end)
    method = next((node for node in inside if node.type == "method_declaration"), None)
    if method is None or text_of(method.child_by_field_name("type")) == "void":
        return None
    before = _owner(method, ".".join(symbol.parents))
    types = list(_types(method))
    if not before or len(types) > _MAX_PARAMETERS:
        return None
    borders = tuple(_borders(each, method) for each in types)
    return Signature(f"{before}.{symbol.name}", tuple(map(_samples, types)), borders)


def sample_calls(samples: Sequence[Values]) -> list[Values]:
    """Return arguments; the first values of each parameter come first."""
    indices = product(*(range(len(each)) for each in samples))
    chosen = sorted(indices, key=lambda each: (sum(each), each))[:_MAX_CALLS]
    return [tuple(s[i] for s, i in zip(samples, each, strict=True)) for each in chosen]


def _owner(method: tree_sitter.Node, name: str) -> str:
    """Return the object or class whose method it is, empty if there is no simple one."""
    modifiers = _modifiers(method)
    owner = method.parent.parent if method.parent is not None else None
    if "private" in modifiers or owner is None:
        return ""
    if "static" in modifiers:
        return name
    if owner.type != "class_declaration" or "abstract" in _modifiers(owner) or "." in name:
        return ""
    body = owner.child_by_field_name("body")
    members = body.named_children if body is not None else []
    constructors = [each for each in members if each.type == "constructor_declaration"]
    simple = [each for each in constructors if not list(_types(each))]
    is_simple = not constructors or (simple and "private" not in _modifiers(simple[0]))
    generic = "<>" if owner.child_by_field_name("type_parameters") is not None else ""
    return f"new {name}{generic}()" if is_simple else ""


def _modifiers(node: tree_sitter.Node) -> list[str]:
    return [w for each in node.children if each.type == "modifiers" for w in text_of(each).split()]


def _types(method: tree_sitter.Node) -> Iterator[str]:
    parameters = method.child_by_field_name("parameters")
    for node in parameters.named_children if parameters is not None else ():
        if node.type == "formal_parameter":
            dimensions = text_of(node.child_by_field_name("dimensions"))
            yield "".join((text_of(node.child_by_field_name("type")) + dimensions).split(" "))
        elif node.type == "spread_parameter":
            types = (each for each in node.named_children if each.type != "modifiers")
            yield f"{text_of(next(types))}..."


def _samples(annotation: str) -> Values:
    if annotation in _SAMPLES:
        return _SAMPLES[annotation]
    if annotation in _BOXED:
        return (*_SAMPLES[_BOXED[annotation]], "null")
    name = re.sub(r"^java\.util\.", "", annotation).replace("?extends", "? extends ")
    if match := _ARRAY.fullmatch(annotation):
        lists = _elements(match[1])
        return tuple(f"new {match[1]}[] {{{', '.join(each)}}}" for each in lists)
    if match := _LISTS.fullmatch(name):
        element = _BOXED.get(match[1] or "", match[1] or "int")
        element = "int" if len(element) == 1 or element in ("Number", "Object") else element
        lists = [each for each in _elements(element) if each]
        empty = ("Collections.emptyList()",) if lists else ()
        full = tuple(f"Arrays.asList({', '.join(each)})" for each in lists)
        return (*full[:1], *empty, *full[1:])
    return ()


def _elements(element: str) -> list[list[str]]:
    """Return the elements of several lists of a type, none if the type is not known."""
    own_type = _BOXED.get(element, element)
    if own_type not in _SAMPLES:
        return []
    values = [each for each in _SAMPLES[own_type] if each != "null"]
    if own_type == "boolean":
        return [values, [], values[:1]]
    first, second, *others = [each for each in values if "-" not in each]
    negative = [each for each in values if "-" in each] or others
    return [[first, second, first, *others], [], [first], [second], [negative[0], second, first]]


def _borders(annotation: str, method: tree_sitter.Node) -> Values:
    """Return the constants that a parameter of a type may be compared with."""
    kind = _BOXED.get(annotation, annotation)
    values, letters = list[str](), list[str]()
    for node in _constants(method):
        text = text_of(node)
        if kind in _BORDERS and node.type in _NUMBERS:
            values += _numbers(text, kind)
        elif kind in _STRINGS and node.type == "string_literal" and len(text) <= _MAX_STRING:
            values.append(text)
        elif node.type == "character_literal":
            letters.append(text)
    if kind == "char":
        values += letters
    elif kind in _STRINGS:
        plain = [text[1:-1].replace('"', '\\"') for text in dict.fromkeys(letters)]
        pairs = (first + second for first, second in pairwise(plain))
        texts = [text for pair in pairs for text in (pair, pair[::-1]) if "\\" not in pair]
        values += [f'"{text}"' for text in (*plain, *texts)]
    return tuple(dict.fromkeys(values))


def _constants(method: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Yield the nodes of a method, then those of the fields of its class."""
    yield from nodes(method)
    members = method.parent.named_children if method.parent is not None else []
    for each in members:
        if each.type == "field_declaration":
            yield from nodes(each)


def _numbers(text: str, kind: str) -> list[str]:
    number = float(text.rstrip("lLfFdD").replace("_", ""))
    if kind == "double":
        return [repr(each) for each in (number, number - 0.5, number + 0.5)]
    if number != int(number) or abs(number) >= 1 << (31 if kind == "int" else 52):
        return []
    suffix = "L" if kind == "long" else ""
    return [f"{each}{suffix}" for each in (int(number), int(number) + 1, int(number) - 1)]

"""Values of the simple types of Rust, and how several are combined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from chat.tasks.checking.rust.definitions import Type
from chat.tasks.checking.rust.value_types import FLOATS, INTEGERS, TEXTS, UNSIGNED

_SIGNED = (3, 0, -2, 10, 1)
_UNSIGNED = (6, 0, 10, 1, 3)
_SIZES = (2, 0, 1, 3, 10)
_FLOATS = (2.5, 0.0, -1.5, 10.0, 1.0)
_TEXTS = ("Hello World", "", "42", "a1, b2", "x", "aabb")
_CHARACTERS = ("a", "Z", "5", " ", "-", "é")
_MAX_COMBINATIONS = 10_000
_MAX_WORD = 20


class Documented(str):
    """A text that the documentation of a function shows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An expression with a value."""

    text: str
    word: str
    """What the name of a test says about it."""


def plain_samples(type_: Type) -> list[Sample]:
    """Return values of a type without arguments."""
    name = type_.name
    if name in INTEGERS:
        values = _SIZES if name == "usize" else _UNSIGNED if name in UNSIGNED else _SIGNED
        return list(map(number, values))
    if name in FLOATS:
        return list(map(number, _FLOATS))
    if name == "bool":
        return [Sample("true", "true"), Sample("false", "false")]
    if name == "char":
        return [character(value) for value in _CHARACTERS]
    return [text(value, owned=name == "String") for value in _TEXTS]


def borders(type_: Type, constants: Iterable[object]) -> Iterator[Sample]:
    """Yield values at the borders that constants of a function draw.

    Constants are integers, floats, and texts; a character is a text of length 1.
    """
    plain = type_.plain
    for value in constants:
        if isinstance(value, int) and plain.name in INTEGERS:
            for each in (value, value + 1, value - 1):
                if _fits(each, plain.name):
                    yield number(each)
        elif isinstance(value, int | float) and plain.name in FLOATS:
            yield from (number(float(value) + change) for change in (0.0, 0.5, -0.5))
        elif isinstance(value, str) and plain.name == "char" and len(value) == 1:
            yield character(value)
        elif isinstance(value, str) and plain.name in TEXTS:
            for variation in _variations(value):
                yield text(variation, owned=type_.name == "String")


def _variations(value: str) -> tuple[str, ...]:
    if isinstance(value, Documented):
        return (value, f"{value[:-1]}z", value[:-1], value.upper(), f" {value}")
    return (value, f"1{value}2", f"{value}a")


def diagonal(choices: Sequence[Sequence[Sample]]) -> Iterator[tuple[Sample, ...]]:
    """Yield values for several places, all different from the last ones where that is possible."""
    if not all(choices):
        return
    for index in range(max((len(each) for each in choices), default=1)):
        yield tuple(each[index % len(each)] for each in choices)


def combinations(choices: Sequence[Sequence[Sample]], count: int) -> Iterator[tuple[Sample, ...]]:
    """Yield values for several places; the first values of each come first."""
    indices = product(*(range(len(each)) for each in choices))
    for chosen in sorted(islice(indices, _MAX_COMBINATIONS), key=lambda each: (sum(each), each))[
        :count
    ]:
        yield tuple(each[index] for each, index in zip(choices, chosen, strict=True))


def path_of(type_: Type) -> str:
    """Return the path with which functions of a type are called: `Stack::<i32>`."""
    if not type_.arguments:
        return type_.name
    return f"{type_.name}::<{', '.join(map(type_text, type_.arguments))}>"


def type_text(type_: Type) -> str:
    """Return a type as code; `_` where it is not known."""
    if type_.name in ("&", "&mut"):
        return f"{type_.name.ljust(4) if type_.name == '&mut' else '&'}{type_text(type_.plain)}"
    inner = ", ".join(map(type_text, type_.arguments))
    if type_.name == "(,)":
        return f"({inner})"
    if type_.name == "[]":
        return f"[{inner}]" if type_.length is None else f"[{inner}; {type_.length}]"
    return (f"{type_.name}<{inner}>" if inner else type_.name) or "_"


def snake_case(name: str) -> str:
    """Return a name of a type as a part of a function's name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def character(value: str) -> Sample:
    """Return a character."""
    escaped = {"'": "\\'", "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(value, value)
    word = value.lower() if value.isalnum() else {" ": "space", "-": "dash"}.get(value, "sign")
    return Sample(f"'{escaped}'", word)


def quoted(value: str) -> str:
    """Return a string literal."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
    return f'"{"".join(escapes.get(each, each) for each in value)}"'


def text(value: str, *, owned: bool) -> Sample:
    """Return a `&str`, or a String if it is owned."""
    words = re.findall(r"[a-z0-9]+", value.lower())
    word = "_".join(words) if words and len(value) <= _MAX_WORD else "text" if value else "empty"
    literal = quoted(value)
    if owned:
        literal = f"{literal}.to_string()" if value else "String::new()"
    return Sample(literal, word)


def number(value: float) -> Sample:
    """Return an integer or a float."""
    literal = repr(value)
    word = literal.replace("-", "minus_", 1).removesuffix(".0")
    return Sample(literal, re.sub(r"\W", "_", word))


def joined(samples: Sequence[Sample]) -> str:
    """Return the texts of samples with commas."""
    return ", ".join(each.text for each in samples)


def words_of(samples: Sequence[Sample], things: str) -> str:
    """Return what the name of a test says about a collection of samples."""
    if not samples:
        return "empty"
    words = "_".join(each.word for each in samples)
    return words if len(words) <= _MAX_WORD else f"{len(samples)}_{things}"


def _fits(value: int, name: str) -> bool:
    bits = int(re.sub(r"\D", "", name) or 64)
    low, high = (0, 1 << bits) if name in UNSIGNED else (-1 << bits - 1, 1 << bits - 1)
    return low <= value < high

"""Assertions of values that Rust has printed with `{:?}`, whose types are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from chat.tasks.checking.rust.definitions import Definition, Type, Variant, with_arguments
from chat.tasks.checking.rust.value_types import (
    COLLECTIONS,
    FLOATS,
    INTEGERS,
    LISTS,
    MAPS,
    TEXTS,
    Scope,
)

_INTEGER = re.compile(r"-?\d+")
_FLOAT = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_CHARACTER = re.compile(r"'(?:[^'\\]|\\(?:u\{\w+\}|.))'")
_WORD = re.compile(r"\w+")
_PATTERNS = {
    **dict.fromkeys(INTEGERS, _INTEGER),
    "bool": re.compile(r"true|false"),
    "char": _CHARACTER,
    "()": re.compile(r"\(\)"),
}
_MAX_CHARACTERS = 200
_MAX_EXACT_FLOAT_CHARACTERS = 8


class _UnknownError(Exception):
    """A value cannot be written as a literal."""


class Assertions:
    """Writes assertions for the types of one file."""

    def __init__(self, scope: Scope, *, is_inside: bool) -> None:
        """`is_inside` says whether tests see private fields."""
        self._scope, self._is_inside = scope, is_inside

    def of(self, actual: str, type_: Type, value: str) -> str | None:
        """Return an assertion that an expression has a value, None if there is none."""
        if len(value) > _MAX_CHARACTERS:
            return None
        plain = type_.plain
        if plain.name == "bool":
            negation = {"true": "", "false": "!"}.get(value)
            star = "*" * (type_.name != plain.name)
            return None if negation is None else f"assert!({negation}{star}{actual});"
        if plain.name in FLOATS:
            return self._float(actual, type_, value)
        if plain.name in COLLECTIONS and value in ("[]", "{}") and plain.length is None:
            return f"assert!({actual}.is_empty());"
        if self._scope.is_comparable(type_):
            expected = self._literal(type_, value, is_nested=False)
            if expected is not None:
                return f"assert_eq!({actual}, {expected});"
        return self._wrapped(actual, type_, value)

    def _wrapped(self, actual: str, type_: Type, value: str) -> str | None:
        """Return an assertion about an Option or a Result that cannot be compared as a whole."""
        match = re.fullmatch(r"(Some|Ok|Err)\((.*)\)|None", value, re.S)
        if type_.name not in ("Option", "Result") or match is None or len(type_.arguments) < 1:
            return None
        if match[1] is None:
            return f"assert!({actual}.is_none());"
        if match[1] == "Err":
            return f"assert!({actual}.is_err());"
        inner = self.of(f"{actual}.unwrap()", type_.arguments[0], match[2])
        is_some = "is_some" if match[1] == "Some" else "is_ok"
        if inner is None or type_.arguments[0].name == "()":
            return f"assert!({actual}.{is_some}());"
        return inner

    def _float(self, actual: str, type_: Type, value: str) -> str | None:
        if value == "NaN":
            return f"assert!({actual}.is_nan());"
        if value in ("inf", "-inf"):
            sign = value.removesuffix("inf")
            return f"assert_eq!({actual}, {sign}{type_.plain.name}::INFINITY);"
        if not _FLOAT.fullmatch(value):
            return None
        if len(value) <= _MAX_EXACT_FLOAT_CHARACTERS and "e" not in value:
            return f"assert_eq!({actual}, {'&' * (type_.name == '&')}{value});"
        rounded = f"{float(value):.6g}"
        places = max(0, len(rounded.partition(".")[2]) - 1)
        if "e" in rounded or "." not in rounded:
            return None
        expected = f"({rounded})" if rounded.startswith("-") else rounded
        return f"assert!(({actual} - {expected}).abs() < 1e-{places});"

    def _literal(self, type_: Type, value: str, *, is_nested: bool) -> str | None:
        """Return the literal of a value, in a form that can be compared with the type."""
        reader = _Reader(self._scope, value, is_inside=self._is_inside)
        try:
            literal = reader.read(type_, is_nested=is_nested)
        except _UnknownError:
            return None
        return literal if reader.is_at_end else None


class _Reader:
    """Reads one printed value, and writes it as an expression of its type.

    What is not nested may be written in a simpler way: a String can be compared with a literal.
    """

    def __init__(self, scope: Scope, text: str, *, is_inside: bool) -> None:
        self._scope, self._text, self._is_inside = scope, text, is_inside
        self._position = 0

    @property
    def is_at_end(self) -> bool:
        """Whether all of the value was read."""
        return self._position == len(self._text)

    def read(self, type_: Type, *, is_nested: bool) -> str:
        """Return the next value as an expression."""
        name, arguments = type_.name, type_.arguments
        if (pattern := _PATTERNS.get(name)) is not None:
            return self._match(pattern)
        if name in FLOATS:
            return self._float()
        if name in TEXTS:
            text = self._match(_STRING)
            if name == "str" or not is_nested:
                return text
            return f"{text}.to_string()" if text != '""' else "String::new()"
        if name in ("&", "&mut"):
            return self._reference(type_, is_nested=is_nested)
        if name in COLLECTIONS and arguments:
            return self._collection(type_, is_nested=is_nested)
        if name == "(,)":
            items = self._tuple(list(arguments))
            return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
        if name == "Box" and arguments:
            return f"Box::new({self.read(arguments[0], is_nested=True)})"
        return self._variant(type_)

    def _variant(self, type_: Type) -> str:
        """Read a value of an enum or a struct, which begins with a name."""
        word = self._match(_WORD)
        if type_.name == "Ordering" and word in ("Less", "Equal", "Greater"):
            return f"Ordering::{word}"
        wrapped = {("Option", "Some"): 0, ("Result", "Ok"): 0, ("Result", "Err"): 1}
        index = wrapped.get((type_.name, word))
        if index is not None and index < len(type_.arguments):
            return f"{word}({self._tuple([type_.arguments[index]])[0]})"
        if type_.name == "Option" and word == "None":
            return word
        definition = self._scope.definitions.get(type_.name)
        if definition is None:
            raise _UnknownError
        return self._defined(definition, word, type_)

    def _defined(self, definition: Definition, word: str, type_: Type) -> str:
        variant = next((each for each in definition.variants if each.name == word), None)
        if variant is None or "Debug" not in definition.derived:
            raise _UnknownError
        if not self._is_inside and not all(each.is_public for each in variant.fields):
            raise _UnknownError
        types = [with_arguments(each.type, definition.chosen(type_)) for each in variant.fields]
        path = f"{definition.name}::{word}" if definition.is_enum else word
        if variant.kind == "unit" or not types:
            return path if variant.kind == "unit" else f"{path} {{}}"
        if variant.kind == "tuple":
            return f"{path}({', '.join(self._tuple(types))})"
        return f"{path} {{ {', '.join(self._fields(variant, types))} }}"

    def _fields(self, variant: Variant, types: list[Type]) -> Iterator[str]:
        for index, (field, type_) in enumerate(zip(variant.fields, types, strict=True)):
            self._skip(f"{', ' if index else ' { '}{field.name}: ")
            yield f"{field.name}: {self.read(type_, is_nested=True)}"
        self._skip(" }")

    def _reference(self, type_: Type, *, is_nested: bool) -> str:
        inner = type_.arguments[0]
        if inner.name == "str" or (inner.name == "String" and not is_nested):
            return self.read(inner, is_nested=is_nested)
        text = self.read(inner, is_nested=is_nested)
        if inner.name == "[]" and inner.length is None:
            return f"&{text}[..]" if is_nested else text
        return f"{type_.name} {text}" if type_.name == "&mut" else f"&{text}"

    def _collection(self, type_: Type, *, is_nested: bool) -> str:
        name, arguments = type_.name, type_.arguments
        if name in MAPS:
            items = self._items("{}", lambda: self._entry(arguments))
        elif name in LISTS:
            items = self._items("[]", lambda: self.read(arguments[0], is_nested=is_nested))
        else:
            items = self._items("{}", lambda: self.read(arguments[0], is_nested=True))
        if name.startswith("Hash"):
            items.sort(key=lambda each: (len(each), each))  # their order is random
        inner = ", ".join(items)
        if name in LISTS:
            return f"{'vec!' if name == 'Vec' else ''}[{inner}]"
        return f"{name}::from([{inner}])" if items else f"{name}::new()"

    def _entry(self, types: tuple[Type, ...]) -> str:
        if len(types) != 2:
            raise _UnknownError
        key = self.read(types[0], is_nested=True)
        self._skip(": ")
        return f"({key}, {self.read(types[1], is_nested=True)})"

    def _items(self, brackets: str, read: Callable[[], str]) -> list[str]:
        self._skip(brackets[0])
        items: list[str] = []
        while not self._text.startswith(brackets[1], self._position):
            if items:
                self._skip(", ")
            items.append(read())
        self._skip(brackets[1])
        return items

    def _tuple(self, types: list[Type]) -> list[str]:
        self._skip("(")
        items = []
        for index, type_ in enumerate(types):
            if index:
                self._skip(", ")
            items.append(self.read(type_, is_nested=True))
        if len(types) == 1 and self._text.startswith(",)", self._position):
            self._skip(",")
        self._skip(")")
        return items

    def _float(self) -> str:
        text = self._match(_FLOAT)
        if len(text) > _MAX_EXACT_FLOAT_CHARACTERS or "e" in text:
            raise _UnknownError
        return text

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._position)
        if match is None:
            raise _UnknownError
        self._position = match.end()
        return match[0]

    def _skip(self, text: str) -> None:
        if not self._text.startswith(text, self._position):
            raise _UnknownError
        self._position += len(text)

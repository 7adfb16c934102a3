"""Parameters of messages as objects of lsprotocol, strictly: a number is not taken for a string."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any
from urllib.parse import unquote

import attrs
import cattrs
from lsprotocol import types
from pygls.protocol import default_converter

from lsp_server.session.messages import ErrorCode, MessageError
from lsp_server.session.uris import canonical


def strict_converter() -> cattrs.Converter:
    """Return pygls's converter, but without the conversions `str(...)`, `int(...)`, `bool(...)`.

    cattrs applies them to any value, so that `{"uri": 5}` would name a document.
    """
    converter: cattrs.Converter = default_converter()  # type: ignore[no-untyped-call]
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(bool, _boolean)
    converter.register_unstructure_hook_func(_is_enumeration, _plain_value)
    _require_objects(converter)
    return converter


def _is_enumeration(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _plain_value(value: Any) -> Any:
    """Return the value of a member of an enumeration, or a value that LSP does not list.

    The hooks for integers and strings also read enumerations, so that a value of a newer LSP does
    not make a message unusable. Such a value may go back to the client, in a diagnostic.
    """
    return value.value if isinstance(value, Enum) else value


def _require_objects(converter: cattrs.Converter) -> None:
    """Have the converter refuse other values than objects for classes.

    The hooks of cattrs look for members with `in`, so a text passes for a class whose members are
    all optional. An empty list is an empty object in Lua.
    """
    building: set[type] = set()

    def is_new(kind: Any) -> bool:
        return attrs.has(kind) and kind not in building

    def make_hook(kind: type) -> Callable[[Any, Any], Any]:
        building.add(kind)
        inner = converter.get_structure_hook(kind, cache_result=False)
        building.remove(kind)

        def hook(value: Any, expected: Any) -> Any:
            if not isinstance(value, dict) and value != []:
                raise TypeError("not an object")
            return inner(value or {}, expected)

        return hook

    converter.register_structure_hook_factory(is_new, make_hook)


def params_type(method: str) -> Any:
    """Return the type of a method's parameters; None if it has none or is not part of LSP."""
    return types.METHOD_TO_TYPES.get(method, (None, None, None))[2]


def is_notification(method: str) -> bool:
    """Whether LSP defines this method as a notification."""
    return method in types.METHOD_TO_TYPES and types.METHOD_TO_TYPES[method][1] is None


def structure_params(converter: cattrs.Converter, method: str, params: Any) -> Any:
    """Return the parameters as an object of lsprotocol, plain JSON for our own methods.

    Raises MessageError, which names the first member that cannot be used and not its value.
    """
    if params is not None and not isinstance(params, dict | list):
        raise MessageError(ErrorCode.INVALID_PARAMS, "'params' must be an object.")
    _check_uris(params)
    expected = params_type(method)
    if expected is None:
        return params
    try:
        return converter.structure({} if params is None else params, expected)
    except Exception as error:
        raise MessageError(ErrorCode.INVALID_PARAMS, _describe(error)) from None


def _check_uris(value: Any, member: str = "") -> None:
    """Raise MessageError for a URI that cannot be parsed, or whose path no system accepts.

    It is easier to be sure here, where all of them arrive, than wherever a path is used.
    """
    if isinstance(value, str):
        if member.lower().endswith("uri") or member == "document":
            _check_uri(value, member)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_uris(inner, key)
    elif isinstance(value, list):
        for inner in value:
            _check_uris(inner, member)


def _check_uri(uri: str, member: str) -> None:
    try:
        is_usable = "\0" not in unquote(canonical(uri))
    except ValueError:
        is_usable = False
    if not is_usable:
        raise MessageError(
            ErrorCode.INVALID_PARAMS, f"The parameter {member!r} cannot be used: it is not a URI."
        )


def _describe(error: Exception) -> str:
    if not isinstance(error, cattrs.BaseValidationError):
        return "'params' cannot be used: its type or value is wrong."
    first = cattrs.transform_error(error, path="params", format_exception=_reason)[0]
    reason, _, path = first.partition(" @ ")
    member = re.sub("_([a-z])", lambda match: match[1].upper(), path)
    return f"The parameter {member.removeprefix('params.')!r} {reason}."


def _reason(error: BaseException, _: type | None) -> str:
    is_missing = isinstance(error, KeyError)
    return "is missing" if is_missing else "cannot be used: its type or value is wrong"


def _string(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _integer(value: Any, _: Any) -> int:
    """Return an integer; clients in Lua and Emacs Lisp may write one as `1.0`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError("not an integer")
    return int(value)


def _boolean(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a boolean")
    return value

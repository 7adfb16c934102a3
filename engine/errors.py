"""The one exception tree of the project.

    StarcoderError
    ├── ConfigurationError         a setting or argument that cannot be used
    ├── ModelError                 the model cannot be loaded
    │   ├── ModelNotFoundError     the model is not on disk and cannot be downloaded
    │   ├── ModelAccessError       the hub requires a token or an accepted licence
    │   ├── UnsupportedModelError  the checkpoint is damaged or of an unsupported kind
    │   └── OutOfMemoryError       the model does not fit the free memory
    ├── RequestError               the engine refuses this request; others may succeed
    │   └── PromptTooLongError     prompt and output do not fit the context window
    ├── EngineBusyError            the engine has too many requests; a later one may succeed
    └── EngineUnavailableError     no engine answers
        ├── EngineStartError       the engine could not be started
        ├── EngineSilentError      the engine's process runs, but answers nothing
        ├── EngineElsewhereError   another engine has the model, and this one exits
        └── EngineLostError        the engine ended during a request
            └── EngineReplacedError    it was replaced by one with another model

Each message says what is wrong and what to do. `kind` identifies the class in the field
`type` of OpenAI's error object. `http_status` is the status of the HTTP response. `lsp_code` is the
JSON-RPC code of the response to an editor (LSP 3.18, section ErrorCodes). It is never -32603,
"internal error": that code means an unexpected exception, whose message nobody may see.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

_INVALID_PARAMS = -32602
_REQUEST_FAILED = -32803


class StarcoderError(Exception):
    """Base class of the errors whose message may be shown to the user."""

    kind: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    lsp_code: ClassVar[int] = _REQUEST_FAILED
    retry_after_s: float | None = None
    """Seconds for which the server that refused a request wants no other one; None if unknown."""

    @property
    def user_message(self) -> str:
        """The message for the user: what is wrong and what to do; it can be written as UTF-8."""
        return str(self).encode("utf-8", "replace").decode("utf-8")


class ConfigurationError(StarcoderError):
    """A setting or argument that cannot be used."""

    kind = "configuration_error"
    http_status = 400
    lsp_code = _INVALID_PARAMS


class ModelError(StarcoderError):
    """The model cannot be loaded."""

    kind = "model_error"
    http_status = 503


class ModelNotFoundError(ModelError):
    """The model is not on disk and cannot be downloaded."""

    kind = "model_not_found"
    http_status = 404


class ModelAccessError(ModelError):
    """The hub requires a token or an accepted licence."""

    kind = "model_access"
    http_status = 403


class UnsupportedModelError(ModelError):
    """The checkpoint is damaged or of an unsupported kind."""

    kind = "unsupported_model"


class OutOfMemoryError(ModelError):
    """The model does not fit the free memory."""

    kind = "out_of_memory"


class RequestError(StarcoderError):
    """The engine refuses this request; others may succeed."""

    kind = "invalid_request_error"
    http_status = 400
    lsp_code = _INVALID_PARAMS


class PromptTooLongError(RequestError):
    """Prompt and output do not fit the context window."""

    kind = "prompt_too_long"

    @classmethod
    def of(cls, num_tokens: int | str, window: int) -> PromptTooLongError:
        """Return the error of a prompt with `num_tokens` tokens, for a window of `window`."""
        return cls(
            f"The prompt has {num_tokens} tokens, but the context window of {window} holds at most "
            f"{window - 1} prompt tokens and one new token. Shorten the prompt."
        )


class EngineBusyError(StarcoderError):
    """The engine has too many requests; a later one may succeed."""

    kind = "engine_busy"
    http_status = 503
    lsp_code = _REQUEST_FAILED


class EngineUnavailableError(StarcoderError):
    """No engine answers."""

    kind = "engine_unavailable"
    http_status = 503


class EngineStartError(EngineUnavailableError):
    """The engine could not be started."""

    kind = "engine_start"


class EngineLostError(EngineUnavailableError):
    """The engine ended during a request."""

    kind = "engine_lost"


class EngineReplacedError(EngineLostError):
    """The engine was replaced by one with another model, whose token ids differ."""

    kind = "engine_replaced"


class EngineSilentError(EngineUnavailableError):
    """The engine's process runs, but answers nothing."""

    kind = "engine_silent"


class EngineElsewhereError(EngineUnavailableError):
    """Another engine has the model in memory already, and this one exits."""

    kind = "engine_elsewhere"


def _tree(root: type[StarcoderError]) -> list[type[StarcoderError]]:
    return [root] + [cls for child in root.__subclasses__() for cls in _tree(child)]


def is_own_kind(kind: str) -> bool:
    """Return whether an error of ours has this `kind`; other servers use some of the same names."""
    return any(cls.kind == kind for cls in _tree(StarcoderError))


def error_from_wire(kind: str, message: str) -> StarcoderError:
    """Return the error whose class has this `kind`; RequestError for an unknown kind."""
    by_kind = {cls.kind: cls for cls in _tree(StarcoderError)}
    return by_kind.get(kind, RequestError)(message)


_PYTHON_WORDING = re.compile(
    r"invalid literal|could not convert|values? to unpack|\bobject\b|\bNoneType\b|\berrno\b|"
    r"unhashable|not subscriptable|unexpected keyword|positional argument|codec can't",
    re.I,
)
"""Parts of messages of Python's own exceptions, which do not help a user."""
_MAX_REASON = 300


def reason_of(error: BaseException) -> str:
    """Return why something failed, in words for the user: the end of a sentence, without a dot.

    It has no name of a class, no number of the operating system, and nothing that only a reader of
    Python understands.
    """
    if isinstance(error, StarcoderError):
        return error.user_message.rstrip(".")
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON (line {error.lineno})"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        text = os.strerror(error.errno)
        return text[:1].lower() + text[1:]
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    first = message.strip().partition("\n")[0].strip().rstrip(".:")
    if isinstance(error, KeyError) and first and " " not in first:
        return f"{first} is missing"
    is_python = isinstance(error, TypeError | AttributeError | IndexError | ArithmeticError)
    if not first or is_python or _PYTHON_WORDING.search(first):
        return "a value in it cannot be used"
    return first if len(first) <= _MAX_REASON else f"{first[:_MAX_REASON]}..."


_NUMBER = "give a number"
_WHOLE_NUMBER = "give a whole number"
_VALUE_PROBLEMS = {
    "missing": "it is missing",
    "extra_forbidden": "it is unknown",
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": "the number is too large",
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "finite_number": _NUMBER,
    "bool_parsing": "give true or false",
    "bool_type": "give true or false",
    "string_type": "give a text",
    "string_too_long": "it has more than {max_length} characters",
    "string_too_short": "it has fewer than {min_length} characters",
    "list_type": "give a list",
    "too_long": "it has more than {max_length} entries",
    "too_short": "it has fewer than {min_length} entries",
    "dict_type": "give an object",
    "model_type": "give an object",
    "model_attributes_type": "give an object",
    "greater_than_equal": "the smallest value is {ge}",
    "greater_than": "it must be greater than {gt}",
    "less_than_equal": "the largest value is {le}",
    "less_than": "it must be less than {lt}",
    "literal_error": "choose one of {expected}",
    "enum": "choose one of {expected}",
}
"""Sentences for the types of pydantic's errors (pydantic's documentation, "Validation errors")."""


def value_problem(detail: Mapping[str, Any]) -> str:
    """Return why a value is refused, as the end of a sentence without a full stop.

    `detail` is one error of pydantic with its context. Its own texts are written for programmers.
    """
    text = _VALUE_PROBLEMS.get(detail["type"])
    if text is None:
        return str(detail["msg"]).removesuffix(".")
    return text.format(**detail.get("ctx", {})).replace(" or '", ", '").replace("'", "")

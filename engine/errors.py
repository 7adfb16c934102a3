"""The one exception tree of the project.

    StarcoderError
    ├── ConfigurationError         a setting or argument that cannot be used
    ├── ModelError                 the model cannot be loaded
    │   ├── ModelNotFoundError     nothing of that name on disk, and no way to get it
    │   ├── ModelAccessError       the hub wants a token or an accepted licence
    │   ├── UnsupportedModelError  it is there, but it is not something we can run
    │   └── OutOfMemoryError       it does not fit the memory that is free
    ├── RequestError               the engine refuses this request; the next may be fine
    │   └── PromptTooLongError     prompt and answer do not fit the context window
    └── EngineUnavailableError     no engine answers
        ├── EngineStartError       it could not be started
        └── EngineLostError        it went away in the middle of a request

The message of each is written for the person who meets it: what is wrong, and what to do.
`kind` names the class on the wire (field `type` of an OpenAI error object), `http_status` is the
status it travels under, and `lsp_code` is the JSON-RPC code that an editor is answered with
(LSP 3.18, section ErrorCodes).
"""

from __future__ import annotations

from typing import ClassVar

_INVALID_PARAMS = -32602
_INTERNAL_ERROR = -32603
_REQUEST_FAILED = -32803


class StarcoderError(Exception):
    """Base of every error whose message may be shown to a user."""

    kind: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    lsp_code: ClassVar[int] = _INTERNAL_ERROR

    @property
    def user_message(self) -> str:
        """What is wrong and what to do, in words for the user."""
        return str(self)


class ConfigurationError(StarcoderError):
    """A setting or argument that cannot be used."""

    kind = "configuration_error"
    http_status = 400
    lsp_code = _INVALID_PARAMS


class ModelError(StarcoderError):
    """The model cannot be loaded."""

    kind = "model_error"
    http_status = 503
    lsp_code = _REQUEST_FAILED


class ModelNotFoundError(ModelError):
    """Nothing of that name on disk, and no way to get it."""

    kind = "model_not_found"
    http_status = 404


class ModelAccessError(ModelError):
    """The hub wants a token or an accepted licence."""

    kind = "model_access"
    http_status = 403


class UnsupportedModelError(ModelError):
    """The checkpoint is there, but it is not something we can run."""

    kind = "unsupported_model"


class OutOfMemoryError(ModelError):
    """The model does not fit the memory that is free."""

    kind = "out_of_memory"


class RequestError(StarcoderError):
    """The engine refuses this request; the next may be fine."""

    kind = "invalid_request_error"
    http_status = 400
    lsp_code = _INVALID_PARAMS


class PromptTooLongError(RequestError):
    """Prompt and answer do not fit the context window."""

    kind = "prompt_too_long"


class EngineUnavailableError(StarcoderError):
    """No engine answers."""

    kind = "engine_unavailable"
    http_status = 503
    lsp_code = _REQUEST_FAILED


class EngineStartError(EngineUnavailableError):
    """The engine could not be started."""

    kind = "engine_start"


class EngineLostError(EngineUnavailableError):
    """The engine went away in the middle of a request."""

    kind = "engine_lost"


def _tree(root: type[StarcoderError]) -> list[type[StarcoderError]]:
    return [root] + [found for child in root.__subclasses__() for found in _tree(child)]


def error_from_wire(kind: str, message: str) -> StarcoderError:
    """Return the error that a server described as `kind`; an unknown kind is a RequestError."""
    by_kind = {cls.kind: cls for cls in _tree(StarcoderError)}
    return by_kind.get(kind, RequestError)(message)

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

from typing import ClassVar

_INVALID_PARAMS = -32602
_REQUEST_FAILED = -32803


class StarcoderError(Exception):
    """Base class of the errors whose message may be shown to the user."""

    kind: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    lsp_code: ClassVar[int] = _REQUEST_FAILED

    @property
    def user_message(self) -> str:
        """The message for the user: what is wrong and what to do."""
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


def error_from_wire(kind: str, message: str) -> StarcoderError:
    """Return the error whose class has this `kind`; RequestError for an unknown kind."""
    by_kind = {cls.kind: cls for cls in _tree(StarcoderError)}
    return by_kind.get(kind, RequestError)(message)

"""The server that a command uses in place of an engine on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import typer
from pydantic import ValidationError

from engine.errors import ConfigurationError, value_problem
from engine.settings import EngineSettings
from lsp_server.session.engine_choice import EngineChoice
from lsp_server.settings import Settings

_OPTIONS = {
    "engineUrl": "--engine-url",
    "engineToken": "--engine-token",
    "engineModel": "--engine-model",
    "tokenizer": "--tokenizer",
}
"""The options by the names of the settings that mean the same."""
_LOCAL = {
    "model": "--model",
    "chat_model": "--chat-model",
    "dtype": "--dtype",
    "device": "--device",
}
"""Options that choose an engine of this machine, by the names of their parameters."""
_COMMAND_LINE = "COMMANDLINE"


@dataclass(frozen=True, slots=True)
class EngineServer:
    """A server at a URL, and which of its models to use."""

    url: str
    token: str | None = field(default=None, repr=False)
    model: str | None = None
    tokenizer: str | None = None

    @property
    def address(self) -> str:
        """The URL for reports, without a password that it may contain."""
        return str(httpx2.URL(self.url).copy_with(username=None, password=None))


def read_server(
    context: typer.Context,
    url: str | None,
    token: str | None,
    model: str | None,
    tokenizer: str | None,
) -> EngineServer | None:
    """Return the server that a command's options name, None for an engine of this machine.

    Raises ConfigurationError for options that contradict each other or that cannot be used.
    """
    chosen = [name for name in context.params if _is_on_command_line(context, name)]
    if url is None:
        for name in ("engine_token", "engine_model", "tokenizer"):
            if name in chosen:
                raise ConfigurationError(
                    f"--{name.replace('_', '-')} is for a server: give its address with "
                    "--engine-url too."
                )
        return None
    for name, option in _LOCAL.items():
        if name in chosen:
            advice = " Name a model of the server with --engine-model." if "model" in name else ""
            raise ConfigurationError(
                f"--engine-url and {option} exclude each other: {option} chooses an engine of this "
                f"machine.{advice}"
            )
    server = EngineServer(url, token, model, tokenizer)
    _check(client_settings(server))
    return server


def _is_on_command_line(context: typer.Context, name: str) -> bool:
    """Whether a parameter was set there, and not by a variable or a default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == _COMMAND_LINE


def _check(settings: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for a value that the setting of the same meaning cannot have."""
    try:
        Settings.model_validate(settings)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        name = str(detail["loc"][0])
        value = "" if name == "engineToken" else f" {settings[name]!r}"
        problem = value_problem(detail)
        if detail["type"] == "string_pattern_mismatch":
            problem = "give an address that starts with http:// or https://"
        raise ConfigurationError(f"{_OPTIONS[name]}{value} cannot be used: {problem}.") from None


def client_settings(server: EngineServer | None) -> dict[str, Any]:
    """Return the settings with which an editor uses the server; none for this machine's engine."""
    if server is None:
        return {}
    return {
        "engineUrl": server.url,
        "engineToken": server.token,
        "engineModel": server.model,
        "tokenizer": server.tokenizer,
    }


def choose_engine(settings: EngineSettings, server: EngineServer | None) -> EngineChoice:
    """Return the engine of a command: the server's, or else the one of the settings."""
    if server is None:
        return EngineChoice(settings)
    return EngineChoice(
        settings,
        url=server.url,
        token=server.token,
        tokenizer=server.tokenizer,
        model=server.model,
    )

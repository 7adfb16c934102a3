"""Which engines the settings name, and the clients that reach them.

The model runs in another process or on another machine (see `engine.client`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.api import Engine
from engine.client.endpoint import Endpoint
from engine.client.managed import DEFAULT_COMMAND, ManagedEngine, shares_process
from engine.client.remote import RemoteEngine
from engine.client.remote_model import RemoteModel
from engine.errors import StarcoderError
from engine.settings import AUTO_MODEL, EngineSettings
from lsp_server.settings import Settings

log = logging.getLogger(__name__)

TOKEN_VARIABLE = "STARCODER_LSP_ENGINE_TOKEN"
"""The environment variable with the token of the engine at a URL, if the settings have none."""

_CHAT_RENDERER = "chat.rendering:render"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine that the settings name: the one at `url`, or else a process on this machine."""

    process: EngineSettings
    companion: EngineSettings | None = field(default=None, compare=False)
    """The process of the other engine. It is needed to plan memory, and does not change which
    engine this is."""
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    """Access token for the engine at `url`."""
    tokenizer: str | None = None
    """Folder or GGUF file of a model whose server does not provide its tokenizer."""
    model: str | None = None
    """Name of the model to request at `url`; None is the first model there."""
    is_for_chat: bool = False
    """Whether the model is that of the setting chatModel."""


EngineFactory = Callable[[EngineChoice], Engine]


def completion_engine(settings: Settings) -> EngineChoice:
    """Return the engine of completions, which also serves chat unless `chat_model` is set."""
    return EngineChoice(
        settings.engine,
        settings.chat_engine,
        settings.engine_url,
        _token(settings),
        settings.tokenizer,
        settings.engine_model,
    )


def chat_engine(settings: Settings) -> EngineChoice | None:
    """Return the engine of chat; None if the engine of completions serves both."""
    if settings.engine_url is not None and settings.chat_model:
        return EngineChoice(
            settings.engine,
            None,
            settings.engine_url,
            _token(settings),
            settings.chat_tokenizer,
            settings.chat_model,
            is_for_chat=True,
        )
    process = settings.chat_engine
    return None if process is None else EngineChoice(process, settings.engine)


def _token(settings: Settings) -> str | None:
    """Return the access token of the settings, or else of the environment."""
    if settings.engine_url is None or settings.engine_token is not None:
        return settings.engine_token
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token.isascii() and token.isprintable():
        return token or None
    log.warning("%s has other characters than printable ASCII and is not used", TOKEN_VARIABLE)
    return None


def create_engine(choice: EngineChoice) -> Engine:
    """Return a client of the engine at `url`, or of this machine's shared engine."""
    if choice.url is not None:
        return RemoteEngine(Endpoint(choice.url, token=choice.token), remote_model(choice))
    command = (*DEFAULT_COMMAND, "--chat-renderer", _CHAT_RENDERER)
    return ManagedEngine(choice.process, command, companion=choice.companion)


def remote_model(choice: EngineChoice) -> RemoteModel:
    """Return which model at the URL a choice means."""
    tokenizer = None if choice.tokenizer is None else _expand(Path(choice.tokenizer))
    names = ("chatModel", "chatTokenizer") if choice.is_for_chat else ()
    return RemoteModel(choice.model, tokenizer, choice.process.context_window, *names)


def _expand(path: Path) -> Path:
    """Return the path with the home directory in place of `~`; as it is, if there is no such user.

    The engine's client then reports that there is no such file.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def set_companion(engine: Engine, choice: EngineChoice) -> None:
    """Let the next process of this engine leave memory free for the companion of the choice."""
    if isinstance(engine, ManagedEngine):
        engine.companion = choice.companion


async def leave_engine(engine: Engine, old: EngineChoice, needed: Sequence[EngineChoice]) -> None:
    """Close the connection to an engine that the settings do not name any more.

    Its process exits immediately if it has no other client, unless the settings still name it as
    one of the engines that are `needed`.
    """
    if not isinstance(engine, ManagedEngine):
        await engine.aclose()
        return
    others = [choice.process for choice in needed if choice.url is None]
    try:
        stays = await asyncio.to_thread(
            lambda: any(shares_process(old.process, other) for other in others)
        )
    except StarcoderError:  # the runtime directory cannot be used, so no process was found
        stays = True
    await (engine.aclose() if stays else engine.leave())


def is_selected_by_engine(choice: EngineChoice) -> bool:
    """Return whether a choice means a model that only its engine process selects: `auto`."""
    return choice.url is None and choice.process.model == AUTO_MODEL

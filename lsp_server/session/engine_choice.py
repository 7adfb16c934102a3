"""Which engines the settings name, and the clients that reach them.

The model runs in another process or on another machine (see `engine.client`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.api import Engine
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.managed import DEFAULT_COMMAND, ManagedEngine, shares_process
from engine.errors import StarcoderError
from engine.settings import AUTO_MODEL, EngineSettings
from lsp_server.settings import Settings

_CHAT_RENDERER = "chat.rendering:render"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine that the settings name: the one at `url`, or else a process on this machine."""

    process: EngineSettings
    companion: EngineSettings | None = field(default=None, compare=False)
    """The process of the other engine. It is needed to plan memory, and does not change which
    engine this is."""
    url: str | None = None
    token: str | None = None
    """Access token for the engine at `url`."""
    tokenizer: str | None = None
    """Directory with the tokenizer.json of a model whose server does not provide it."""
    chat_model: str | None = None
    """Name of the model to request at `url`; None is the first model there."""


EngineFactory = Callable[[EngineChoice], Engine]


def completion_engine(settings: Settings) -> EngineChoice:
    """Return the engine of completions, which also serves chat unless `chat_model` is set."""
    return EngineChoice(
        settings.engine,
        settings.chat_engine,
        settings.engine_url,
        settings.engine_token,
        settings.tokenizer,
    )


def chat_engine(settings: Settings) -> EngineChoice | None:
    """Return the engine of chat; None if the engine of completions serves both."""
    if settings.engine_url is not None and settings.chat_model:
        return EngineChoice(
            settings.engine,
            None,
            settings.engine_url,
            settings.engine_token,
            settings.chat_tokenizer,
            settings.chat_model,
        )
    process = settings.chat_engine
    return None if process is None else EngineChoice(process, settings.engine)


def create_engine(choice: EngineChoice) -> Engine:
    """Return a client of the engine at `url`, or of this machine's shared engine."""
    if choice.url is not None:
        endpoint = Endpoint(choice.url, token=choice.token)
        tokenizer = None if choice.tokenizer is None else _expand(Path(choice.tokenizer))
        return HttpEngine(endpoint, tokenizer, choice.chat_model)
    command = (*DEFAULT_COMMAND, "--chat-renderer", _CHAT_RENDERER)
    return ManagedEngine(choice.process, command, companion=choice.companion)


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

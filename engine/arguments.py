"""An engine's settings as command-line arguments, both ways, so that the two cannot differ."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from engine.settings import Device, Dtype, EngineSettings


@dataclass(frozen=True, slots=True)
class Listen:
    """Where an engine process listens: on a Unix socket, or else on TCP."""

    uds: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    """0 lets the system choose."""
    token: str | None = None
    endpoint_file: Path | None = None
    """Where to write the chosen port and the token, for clients of the same user to find."""


def to_argv(settings: EngineSettings, listen: Listen) -> list[str]:
    """Return the arguments that `parse` reads back. A token is never among them.

    Arguments are visible to every user of a machine; the process makes its own token and writes it
    to the endpoint file.
    """
    # Joined by `=`, since a value may begin with a dash.
    argv = [f"--model={settings.model}", f"--dtype={settings.dtype}"]
    argv += [f"--device={settings.device}", f"--idle-timeout={settings.idle_timeout_s}"]
    if settings.revision is not None:
        argv += [f"--revision={settings.revision}"]
    if settings.draft_model is not None:
        argv += [f"--draft-model={settings.draft_model}"]
    if settings.context_window is not None:
        argv += [f"--context-window={settings.context_window}"]
    if settings.offline:
        argv += ["--offline"]
    if listen.uds is not None:
        return [*argv, f"--uds={listen.uds}"]
    argv += [f"--host={listen.host}", f"--port={listen.port}"]
    if listen.endpoint_file is not None:
        argv += [f"--endpoint-file={listen.endpoint_file}"]
    return argv


def parse(argv: Sequence[str]) -> tuple[EngineSettings, Listen, str | None]:
    """Return settings, address and the chat renderer's name; exits with a message on bad ones."""
    defaults = EngineSettings()
    parser = argparse.ArgumentParser(
        prog="python -m engine",
        description="Hold a model and answer OpenAI's API. `starcoder-lsp serve` is the friendly "
        "form of this; the language server starts this one.",
    )
    parser.add_argument("--model", default=defaults.model)
    parser.add_argument("--revision")
    parser.add_argument("--dtype", choices=get_args(Dtype), default=defaults.dtype)
    parser.add_argument("--device", choices=get_args(Device), default=defaults.device)
    parser.add_argument("--draft-model")
    parser.add_argument("--context-window", type=int)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--idle-timeout", type=float, default=defaults.idle_timeout_s)
    parser.add_argument("--uds", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--endpoint-file", type=Path)
    parser.add_argument("--chat-renderer", metavar="MODULE:FUNCTION")
    given = parser.parse_args(argv)
    settings = EngineSettings(
        model=given.model,
        revision=given.revision,
        dtype=given.dtype,
        device=given.device,
        draft_model=given.draft_model,
        context_window=given.context_window,
        offline=given.offline,
        idle_timeout_s=given.idle_timeout,
    )
    listen = Listen(given.uds, given.host, given.port, None, given.endpoint_file)
    return settings, listen, given.chat_renderer

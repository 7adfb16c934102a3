"""The settings of an engine process, and their form as command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"]
Device = Literal["auto", "cpu", "cuda", "mps", "balanced"]

KV_CACHES = 32
"""Size of the prefix cache in full context windows, unless the settings say another one."""

AUTO_MODEL = "auto"
DEMO_MODEL = "demo"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The model that an engine loads, and the options of loading it.

    Clients whose settings have the same key (`engine.client.engine_key`) share one process.
    """

    model: str = AUTO_MODEL
    """Hub id, directory, GGUF file, `demo` for the embedded demo model, or `auto`."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Dtype = "auto"
    """Number format of the weights.

    `auto` is bfloat16 on a GPU that supports it and else float16. On a CPU it is float32 for small
    models and bfloat16 for others. If that does not fit into the free memory, `auto` is int8, or
    else int4.
    """
    device: Device = "auto"
    """Device. `auto` is a GPU if there is one; `balanced` spreads it over GPUs, CPU and disk."""
    draft_model: str | None = None
    """Hub id, directory or GGUF file of a smaller model with the same vocabulary that proposes
    draft tokens."""
    context_window: int | None = None
    """Context window in tokens, to save memory; None is the model's own."""
    offline: bool = False
    """Whether to use only models on disk and never download from the hub."""
    idle_timeout_s: float = 1800.0
    """Seconds without a request after which the process exits; 0 is never.

    The longest time of the connected clients counts, and of the last one after it has gone.
    """
    reserve_for: str | None = None
    """Model for which this engine leaves memory free, because another engine will load it.

    Clients set it only when they start a process, so it does not change which process they share.
    """
    kv_caches: int = KV_CACHES
    """Maximum size of the prefix cache, in full context windows; the free memory limits it too.

    With fewer than there are people who type, each request drops the cache that another one needs
    next. The few editors of one person need few, and a small model should stay small in memory.
    """


@dataclass(frozen=True, slots=True)
class Listen:
    """The address on which an engine process listens: a Unix socket, or else TCP."""

    uds: Path | None = None
    """Path of the Unix socket; None for TCP."""
    host: str = "127.0.0.1"
    """TCP address."""
    port: int = 0
    """TCP port; 0 lets the system choose one."""
    token: str | None = None
    """Access token that clients must send over TCP."""
    endpoint_file: Path | None = None
    """File to which the process writes port and token, for clients of the same user."""


def to_argv(settings: EngineSettings, listen: Listen) -> list[str]:
    """Return the arguments that `parse_argv` reads back, without the access token.

    All users of a machine can read arguments. So the process generates its own token and writes it
    to the endpoint file.
    """
    # Joined with `=`, because a value may start with a dash.
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
    if settings.reserve_for is not None:
        argv += [f"--reserve-for={settings.reserve_for}"]
    if listen.uds is not None:
        return [*argv, f"--uds={listen.uds}"]
    argv += [f"--host={listen.host}", f"--port={listen.port}"]
    if listen.endpoint_file is not None:
        argv += [f"--endpoint-file={listen.endpoint_file}"]
    return argv


def parse_argv(
    argv: Sequence[str],
) -> tuple[EngineSettings, Listen, str | None, str | None]:
    """Return settings, address, and the names of the chat renderer and the FIM renderer.

    Exits with a message if an argument is invalid.
    """
    values = _parser().parse_args(argv)
    settings = EngineSettings(
        model=values.model,
        revision=values.revision,
        dtype=values.dtype,
        device=values.device,
        draft_model=values.draft_model,
        context_window=values.context_window,
        offline=values.offline,
        idle_timeout_s=values.idle_timeout,
        reserve_for=values.reserve_for,
    )
    listen = Listen(values.uds, values.host, values.port, None, values.endpoint_file)
    return settings, listen, values.chat_renderer, values.fim_renderer


class _ArgumentParser(argparse.ArgumentParser):
    """Keeps a value `--`, which argparse drops from `--uds=--` before Python 3.13."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if arg_strings != ["--"]:
            return super()._get_values(action, arg_strings)
        value = self._get_value(action, "--")
        self._check_value(action, value)
        return value


def _parser() -> argparse.ArgumentParser:
    defaults = EngineSettings()
    parser = _ArgumentParser(
        prog="python -m engine",
        description="Load a model and serve OpenAI's API. The language server starts this command. "
        "Use `starcoder-lsp serve` to start it by hand.",
    )
    parser.add_argument("--model", default=defaults.model)
    parser.add_argument("--revision")
    parser.add_argument("--dtype", choices=get_args(Dtype), default=defaults.dtype)
    parser.add_argument("--device", choices=get_args(Device), default=defaults.device)
    parser.add_argument("--draft-model")
    parser.add_argument("--context-window", type=int)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--idle-timeout", type=float, default=defaults.idle_timeout_s)
    parser.add_argument("--reserve-for", metavar="MODEL")
    parser.add_argument("--uds", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--endpoint-file", type=Path)
    parser.add_argument("--chat-renderer", metavar="MODULE:FUNCTION")
    parser.add_argument("--fim-renderer", metavar="MODULE:FUNCTION")
    return parser

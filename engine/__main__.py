"""`python -m engine`: the engine process that language servers start."""

import logging
import sys
from importlib import import_module
from typing import Any

from engine.errors import ConfigurationError, StarcoderError, reason_of
from engine.logs import set_up_logging
from engine.server.fim import RenderFim
from engine.server.process import run
from engine.server.prompts import RenderChat
from engine.settings import parse_argv


def load_function(option: str, name: str | None) -> Any:
    """Return the function that `module:function` names, None for no name.

    `option` is the option of the command line, for the message of the ConfigurationError.
    """
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{option} {name} cannot be used: {reason_of(error)}.") from None


def main() -> None:
    """Serve until stopped by a signal or idle."""
    set_up_logging(logging.StreamHandler(sys.stderr))
    settings, listen, chat_renderer, fim_renderer = parse_argv(sys.argv[1:])
    try:
        render_chat: RenderChat | None = load_function("--chat-renderer", chat_renderer)
        render_fim: RenderFim | None = load_function("--fim-renderer", fim_renderer)
        run(settings, listen, render_chat=render_chat, render_fim=render_fim)
    except StarcoderError as error:
        sys.exit(error.user_message)


if __name__ == "__main__":
    main()

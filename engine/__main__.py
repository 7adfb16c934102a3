"""`python -m engine`: the engine process that language servers start."""

import logging
import sys
from importlib import import_module

from engine.errors import ConfigurationError, StarcoderError, reason_of
from engine.logs import set_up_logging
from engine.server.chat import RenderChat
from engine.server.process import run
from engine.settings import parse_argv


def load_renderer(name: str | None) -> RenderChat | None:
    """Return the function that `module:function` names."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        renderer: RenderChat = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"--chat-renderer {name} cannot be used: {reason_of(error)}."
        ) from None
    return renderer


def main() -> None:
    """Serve until stopped by a signal or idle."""
    set_up_logging(logging.StreamHandler(sys.stderr))
    settings, listen, renderer = parse_argv(sys.argv[1:])
    try:
        run(settings, listen, render_chat=load_renderer(renderer))
    except StarcoderError as error:
        sys.exit(error.user_message)


if __name__ == "__main__":
    main()

"""The real language server with engines that never start: for random settings.

The client of the real engine is created from the settings, and a scripted engine answers. The
server listens on the Unix socket that the argument names; without one it uses stdio.
"""

import sys
from pathlib import Path

from engine.api import Engine
from engine.scripted import ScriptedEngine
from lsp_server.logs import set_up_logging
from lsp_server.registration import build_server
from lsp_server.session.engine_choice import EngineChoice, create_engine
from lsp_server.sockets import run_unix
from lsp_server.stdio import run_stdio

COMMAND = (sys.executable, "-P", "-m", "tests.fuzz.settings_server")


def make_engine(choice: EngineChoice) -> Engine:
    """Return a scripted engine if the real client can be created."""
    create_engine(choice)
    return ScriptedEngine(lambda _: "1")


if __name__ == "__main__":
    set_up_logging(None)
    if len(sys.argv) > 1:
        run_unix(Path(sys.argv[1]), lambda: build_server(make_engine, is_shared=True))
    else:
        sys.exit(run_stdio(build_server(make_engine)))

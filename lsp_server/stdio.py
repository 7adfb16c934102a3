"""The server over stdin and stdout, as editors start it; and how a server is put together."""

from __future__ import annotations

from lsp_server.handlers.chat import register_chat
from lsp_server.handlers.code_actions import register_code_actions
from lsp_server.handlers.inline_completion import register_inline_completion
from lsp_server.handlers.lifecycle import register_lifecycle
from lsp_server.handlers.tasks import register_tasks
from lsp_server.logs import set_up_logging
from lsp_server.session.protocol import StarcoderProtocol
from lsp_server.session.server import EngineFactory, StarcoderServer, engine_of


def build_server(
    make_engine: EngineFactory = engine_of,
    protocol_cls: type[StarcoderProtocol] = StarcoderProtocol,
) -> StarcoderServer:
    """Return a server with all its handlers."""
    server = StarcoderServer(make_engine, protocol_cls)
    register_lifecycle(server)
    register_inline_completion(server)
    register_chat(server)
    register_tasks(server)
    register_code_actions(server)
    return server


def run_stdio(*, log_file: str | None = None, make_engine: EngineFactory = engine_of) -> None:
    """Serve one client until it says `exit` or closes stdin."""
    set_up_logging(log_file)
    build_server(make_engine).start_io()

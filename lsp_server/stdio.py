"""Runs the server over stdin and stdout, as editors start it."""

from __future__ import annotations

from lsp_server.allocator import limit_arenas
from lsp_server.logs import set_up_logging
from lsp_server.registration import build_server
from lsp_server.session.engine_choice import EngineFactory, create_engine


def run_stdio(*, log_file: str | None = None, make_engine: EngineFactory = create_engine) -> None:
    """Serve one client until it sends `exit` or closes stdin."""
    limit_arenas()
    set_up_logging(log_file)
    build_server(make_engine).start_io()

"""The life of a session: `initialize`, `initialized`, settings, closed documents, `shutdown`."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from lsp_server.session.client_settings import can_pull_settings, pull_settings, watch_settings
from lsp_server.session.parent_process import exit_with, find_process
from lsp_server.session.server import StarcoderServer


def initialize(server: StarcoderServer, params: types.InitializeParams) -> None:
    """Prepare documents and settings; nothing slow may happen here."""
    options = params.initialization_options
    if isinstance(options, dict):
        # The token of the connection is not a setting.
        options = {key: value for key, value in options.items() if key != "token"}
    server.initialize(options)
    if server.is_shared or params.process_id is None:
        return
    if (parent := find_process(params.process_id)) is not None:
        server.background.spawn(exit_with(parent))


async def initialized(server: StarcoderServer, _: types.InitializedParams) -> None:
    """Ask for the user's settings, then start the engine in the background."""
    if can_pull_settings(server):
        await _pull_and_apply_settings(server)
        await watch_settings(server)
    server.background.spawn(server.engine.start())


async def settings_changed(
    server: StarcoderServer, params: types.DidChangeConfigurationParams
) -> None:
    """Use changed settings: those that the client returns, or those in the notification."""
    if can_pull_settings(server):
        await _pull_and_apply_settings(server)
    else:
        server.apply_settings(params.settings)


async def _pull_and_apply_settings(server: StarcoderServer) -> None:
    """Use the client's settings; without any, those from `initialize` stay in force."""
    if settings := await pull_settings(server):
        server.apply_settings(settings)


def document_closed(server: StarcoderServer, params: types.DidCloseTextDocumentParams) -> None:
    """Stop completing a closed document."""
    server.completions.close_document(params.text_document.uri)


def notebook_closed(server: StarcoderServer, params: types.DidCloseNotebookDocumentParams) -> None:
    """Stop completing the cells of a closed notebook."""
    for cell in params.cell_text_documents:
        server.completions.close_document(cell.uri)


async def shutdown(server: StarcoderServer, _: Any) -> None:
    """End the session."""
    await server.close()

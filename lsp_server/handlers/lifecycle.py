"""The life of a session: `initialize`, `initialized`, settings, closed documents, `shutdown`."""

from __future__ import annotations

import asyncio
from typing import Any

from lsprotocol import types

from engine.errors import ConfigurationError
from lsp_server.session.client_settings import MAX_WAIT_S
from lsp_server.session.parent_process import exit_with, find_process
from lsp_server.session.server import StarcoderServer
from lsp_server.session.settings_section import find_section


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
    server.background.spawn(server.client_settings.watch())
    updating = asyncio.create_task(server.client_settings.update())
    # A client that is late, or never answers, must not keep the engine from starting.
    await asyncio.wait({updating}, timeout=MAX_WAIT_S)
    server.background.spawn(server.engine.start())
    await updating


async def settings_changed(
    server: StarcoderServer, params: types.DidChangeConfigurationParams
) -> None:
    """Use changed settings: those that the client returns, or those in the notification."""
    try:
        sent = find_section(params.settings)
    except ConfigurationError as error:
        server.report_settings(error)
        sent = None
    await server.client_settings.update(sent)


def folders_changed(server: StarcoderServer, _: types.DidChangeWorkspaceFoldersParams) -> None:
    """Use the workspace's new folders."""
    server.completions.folders_changed()


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

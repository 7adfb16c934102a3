"""`initialize`, `initialized`, `shutdown`, settings, and the end of the editor."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from typing import Any

import psutil
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lsp_server import __version__
from lsp_server.handlers.completion import register_completion
from lsp_server.handlers.custom_requests import plain
from lsp_server.session.server import StarcoderServer
from lsp_server.settings import SECTION

log = logging.getLogger(__name__)

_LOOK_FOR_PARENT_EVERY_S = 2.0


def register_lifecycle(server: StarcoderServer) -> None:
    """Register the handlers of the server's life."""
    server.feature(types.INITIALIZE)(initialize)
    server.feature(types.INITIALIZED)(initialized)
    server.feature(types.SHUTDOWN)(shutdown)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(configuration_changed)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(document_closed)
    server.feature("starcoder/debugInfo")(debug_info)


def initialize(server: StarcoderServer, params: types.InitializeParams) -> None:
    """Prepare documents and settings; nothing slow happens here."""
    server.use_own_documents()
    server.apply_settings(params.initialization_options)
    text_document = params.capabilities.text_document
    if text_document is None or text_document.inline_completion is None:
        register_completion(server)
    if params.process_id is not None and (parent := _process(params.process_id)) is not None:
        server.spawn(exit_with_parent(parent))


async def initialized(server: StarcoderServer, _: types.InitializedParams) -> None:
    """Ask for the user's settings, then bring the engine up in the background."""
    if _pulls_settings(server):
        await _pull_settings(server)
        await _ask_for_changes(server)
    server.spawn(server.bring_up())


async def shutdown(server: StarcoderServer, _: Any) -> None:
    """Let go of the engine."""
    await server.close()


async def configuration_changed(
    server: StarcoderServer, params: types.DidChangeConfigurationParams
) -> None:
    """Take on changed settings: pushed with the notification, or pulled."""
    if _pulls_settings(server):
        await _pull_settings(server)
    else:
        server.apply_settings(params.settings)


def document_closed(server: StarcoderServer, params: types.DidCloseTextDocumentParams) -> None:
    """Stop completing a closed document."""
    server.closed(params.text_document.uri)


async def debug_info(server: StarcoderServer, _: Any) -> dict[str, Any]:
    """Return what a bug report needs; of documents only length and hash, never text."""
    health = await server.engine.health()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "engine": {"state": health.state, "detail": health.detail, "pid": health.pid},
        "status": server.status.status.params(),
        "heavyModules": server.heavy_modules(),
        "positionEncoding": server.workspace.position_encoding,
        "documents": [
            {
                "uri": uri,
                "version": document.version,
                "length": len(document.source),
                "sha256": _sha256(document.source),
            }
            for uri, document in server.workspace.text_documents.items()
        ],
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _process(pid: int) -> psutil.Process | None:
    """The editor's process; None where it is seen from another container or gone already.

    Then the end of file on stdin must do. psutil compares creation times too, since a number may
    be given to another process.
    """
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


async def exit_with_parent(parent: psutil.Process) -> None:
    """End this process soon after the editor is gone, however it went."""
    while True:
        await asyncio.sleep(_LOOK_FOR_PARENT_EVERY_S)
        try:
            alive = parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            alive = False
        if not alive:
            log.info("the editor (process %d) is gone: leaving", parent.pid)
            os._exit(0)


def _pulls_settings(server: StarcoderServer) -> bool:
    workspace = server.client_capabilities.workspace
    return bool(workspace and workspace.configuration)


async def _pull_settings(server: StarcoderServer) -> None:
    """Ask the client for its settings; those of `initialize` stay where it has none."""
    params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
    try:
        answer = await server.workspace_configuration_async(params)
    except JsonRpcException as error:
        log.warning("the client did not tell its settings: %s", error.message)
        return
    sent = plain(answer[0]) if answer else None
    if sent:
        server.apply_settings(sent)


async def _ask_for_changes(server: StarcoderServer) -> None:
    workspace = server.client_capabilities.workspace
    dynamic = workspace and workspace.did_change_configuration
    if not (dynamic and dynamic.dynamic_registration):
        return
    registration = types.Registration(
        id="starcoder-settings",
        method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
        register_options={"section": SECTION},
    )
    try:
        await server.client_register_capability_async(types.RegistrationParams([registration]))
    except JsonRpcException as error:
        log.warning("the client will not tell of changed settings: %s", error.message)

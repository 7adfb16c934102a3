"""Puts a server together: every method and command that the server handles is registered here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from lsprotocol import types

from lsp_server.handlers import chat, code_runs, consent, engines, lifecycle, tasks
from lsp_server.handlers.code_actions import OPTIONS as CODE_ACTION_OPTIONS
from lsp_server.handlers.code_actions import code_actions
from lsp_server.handlers.completion import completion
from lsp_server.handlers.debug_info import debug_info
from lsp_server.handlers.diagnostics import DiagnosticsParams, set_diagnostics
from lsp_server.handlers.inline_completion import accepted, inline_completion
from lsp_server.session.engine_choice import EngineFactory, create_engine
from lsp_server.session.message_attachments import DraftParams
from lsp_server.session.protocol import (
    ACCEPTED_COMMAND,
    FORGET_CONSENT_COMMAND,
    TASK_COMMAND,
    NoParams,
    Params,
    parse_params,
)
from lsp_server.session.server import StarcoderServer

P = TypeVar("P", bound=Params)


def build_server(
    make_engine: EngineFactory = create_engine, *, is_shared: bool = False
) -> StarcoderServer:
    """Return a server for one client with all its handlers; see `StarcoderServer`."""
    server = StarcoderServer(make_engine, is_shared=is_shared)
    _register_lifecycle(server)
    _register_completion(server)
    _register_chat(server)
    _register_tasks(server)
    _register_custom(server, "starcoder/engines", NoParams, engines.list_engines)
    _register_custom(server, "starcoder/stopEngine", engines.StopEngineParams, engines.stop)
    server.feature("starcoder/debugInfo")(debug_info)
    return server


def _register_lifecycle(server: StarcoderServer) -> None:
    @server.feature(types.INITIALIZE)
    def _(params: types.InitializeParams) -> None:
        lifecycle.initialize(server, params)
        _register_for_client(server, params.capabilities)

    server.feature(types.INITIALIZED)(lifecycle.initialized)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(lifecycle.settings_changed)
    server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(lifecycle.folders_changed)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(lifecycle.document_closed)
    server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)(lifecycle.notebook_closed)
    server.feature(types.SHUTDOWN)(lifecycle.shutdown)


def _register_for_client(server: StarcoderServer, capabilities: types.ClientCapabilities) -> None:
    """Register the methods that depend on the client's capabilities.

    pygls announces every registered method and computes the announcement after `initialize` was
    handled. A client with inline completions must not see `textDocument/completion`, or it would
    show each suggestion twice.
    """
    text_document = capabilities.text_document
    if text_document is None or text_document.inline_completion is None:
        server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(completion)


def _register_completion(server: StarcoderServer) -> None:
    # pygls does not announce this method without options.
    options = types.InlineCompletionOptions()
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, options)(inline_completion)
    server.command(ACCEPTED_COMMAND)(accepted)
    _register_custom(server, "starcoder/diagnostics", DiagnosticsParams, set_diagnostics)


def _register_chat(server: StarcoderServer) -> None:
    _register_custom(server, "starcoder/chat/create", NoParams, chat.create)
    _register_custom(server, "starcoder/chat/list", chat.ListParams, chat.list_conversations)
    _register_custom(server, "starcoder/chat/get", chat.ConversationParams, chat.get)
    _register_custom(server, "starcoder/chat/send", chat.SendParams, chat.send)
    _register_custom(server, "starcoder/chat/retry", chat.RetryParams, chat.retry)
    _register_custom(server, "starcoder/chat/continue", chat.RetryParams, chat.continue_answer)
    _register_custom(server, "starcoder/chat/edit", chat.EditParams, chat.edit)
    _register_custom(server, "starcoder/chat/stop", chat.ConversationParams, chat.stop)
    _register_custom(server, "starcoder/chat/rename", chat.RenameParams, chat.rename)
    _register_custom(server, "starcoder/chat/delete", chat.ConversationParams, chat.delete)
    _register_custom(server, "starcoder/chat/clear", NoParams, chat.clear)
    _register_custom(server, "starcoder/chat/export", chat.ConversationParams, chat.export)
    _register_custom(server, "starcoder/chat/attach", DraftParams, chat.attach)
    _register_custom(server, "starcoder/chat/model", NoParams, chat.model)
    _register_custom(server, "starcoder/chat/commands", NoParams, chat.commands)
    _register_custom(server, "starcoder/chat/run", code_runs.RunParams, code_runs.run)


def _register_tasks(server: StarcoderServer) -> None:
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, CODE_ACTION_OPTIONS)(code_actions)
    server.command(TASK_COMMAND)(tasks.run_command)
    server.command(FORGET_CONSENT_COMMAND)(consent.forget_command)
    _register_custom(server, "starcoder/task", tasks.TaskParams, tasks.propose)
    _register_custom(
        server, "starcoder/commitMessage", tasks.CommitMessageParams, tasks.commit_message
    )


def _register_custom(
    server: StarcoderServer,
    method: str,
    params_type: type[P],
    handler: Callable[[StarcoderServer, P], Awaitable[Any]],
) -> None:
    """Register one of our own requests; its handler returns plain JSON or types of lsprotocol."""

    async def handle(params: Any) -> Any:
        return await handler(server, parse_params(params_type, params))

    server.feature(method)(handle)

"""The adaptation of pygls's protocol. Only this module and `pygls_workspace` use private members.

pyproject.toml pins pygls below version 3, so these members do not change unnoticed.

What pygls 2.1 does differently from JSON-RPC 2.0 and LSP 3.18, and `StarcoderProtocol` therefore
does itself (each point can be reported to pygls):

- A request with wrong parameters gets no answer, nor does one that is not JSON, of another version
  than "2.0", or sent after `shutdown`; a request before `initialize` is handled. A notification's
  method with an id, and a request's method without one, are handled as what they are not.
- `json.loads(body, object_hook=structure_message)` also converts nested objects with a member
  `jsonrpc`, for example in settings.
- Requests of both sides share the dictionary `_request_futures`. So a client's response or
  `$/cancelRequest` can end a request of the other side with the same id. A second request with the
  id of one in flight replaces it.
- A response to a request that the server has cancelled raises InvalidStateError, which is shown to
  the user. A response of the wrong type never completes the request.
- A cancelled `workspace/executeCommand` is answered, but its handler runs on. `shutdown` fails
  while one runs ("dictionary changed size during iteration").
- Handlers of notifications stay in `_request_futures` for ever: memory grows with each key.
- `exit` without `shutdown` ends the process with status 0, because `start_io` drops SystemExit.
- Exceptions, with their messages and tracebacks, are sent to the client.
"""

from __future__ import annotations

import asyncio
import contextvars
import hmac
import logging
import uuid
from collections.abc import Generator
from concurrent.futures import Future
from enum import Enum, auto
from functools import partial
from typing import Any

import attrs
from lsprotocol import types
from pygls.exceptions import FeatureNotificationError, JsonRpcException
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.workspace import TextDocument

from engine.errors import StarcoderError
from lsp_server.session.messages import (
    ErrorCode,
    MessageError,
    Notification,
    Request,
    Response,
    parse,
)
from lsp_server.session.params import is_notification, structure_params
from lsp_server.session.pygls_workspace import WorkspaceWithDocuments

log = logging.getLogger(__name__)

INTERNAL_ERROR_MESSAGE = "The language server failed to handle this; its log has the details."
_TOKEN_REQUIRED = "This server requires its token: set `token` in the initializationOptions."


class _Phase(Enum):
    """The life of a connection."""

    NEW = auto()
    INITIALIZED = auto()
    SHUT_DOWN = auto()


class StarcoderProtocol(LanguageServerProtocol):
    """The protocol of one connection. Every request gets exactly one answer."""

    def __init__(self, *args: Any) -> None:
        self._phase = _Phase.NEW
        self.token: str | None = None
        """Token that the client must send in `initializationOptions`; None if none is needed."""
        self.exit_code: int | None = None
        """Status with which LSP wants the process to end; set when the connection must close."""
        super().__init__(*args)

    @property
    def is_initialized(self) -> bool:
        """Whether the client has connected and, if necessary, proved that it may."""
        return self._phase is not _Phase.NEW

    @property
    def is_shut_down(self) -> bool:
        """Whether the client has sent `shutdown`."""
        return self._phase is _Phase.SHUT_DOWN

    # Messages from the client.

    def receive(self, body: bytes) -> None:
        """Handle one message; in place of `structure_message` and `handle_message` of pygls."""
        try:
            message = parse(body)
        except MessageError as error:
            self._refuse(error.id, error)
            return
        # Each handler runs in a context of its own, in which pygls keeps the id.
        context = contextvars.copy_context()
        match message:
            case Request():
                context.run(self._on_request, message)
            case Notification():
                context.run(self._on_notification, message)
            case Response():
                self._on_response(message)

    def _on_request(self, request: Request) -> None:
        try:
            self._check_phase(request)
            handler = self.fm.builtin_features.get(request.method)
            handler = handler or self.fm.features.get(request.method)
            if is_notification(request.method):
                raise MessageError(
                    ErrorCode.INVALID_REQUEST, "This method is a notification: send it without id."
                )
            if handler is None:
                raise MessageError(ErrorCode.METHOD_NOT_FOUND, "This method is not known.")
            params = structure_params(self._converter, request.method, request.params)
        except MessageError as error:
            self._refuse(request.id, error)
            return
        if request.method == types.SHUTDOWN:
            self._phase = _Phase.SHUT_DOWN
        self._ctx_msg_id.set(request.id)
        self._execute_handler(
            request.id,
            handler,
            partial(self._send_handler_result, msg_id=request.id),
            args=(params,),
        )

    def _check_phase(self, request: Request) -> None:
        """Raise MessageError if the request may not be handled now."""
        if self._phase is _Phase.SHUT_DOWN:
            raise MessageError(ErrorCode.INVALID_REQUEST, "The server is shut down.")
        if request.method == types.INITIALIZE:
            if self._phase is not _Phase.NEW:
                raise MessageError(ErrorCode.INVALID_REQUEST, "The server is initialized already.")
            self._check_token(request.params)
        elif self._phase is _Phase.NEW:
            raise MessageError(ErrorCode.NOT_INITIALIZED, "The server waits for `initialize`.")
        if request.id in self._request_futures:
            raise MessageError(ErrorCode.INVALID_REQUEST, "A request with this id is running.")

    def _check_token(self, params: Any) -> None:
        """Raise MessageError, and close the connection, if the token is wrong."""
        if self.token is None:
            return
        options = params.get("initializationOptions") if isinstance(params, dict) else None
        token = options.get("token") if isinstance(options, dict) else None
        received = token.encode() if isinstance(token, str) else b""
        if not hmac.compare_digest(received, self.token.encode()):
            self.exit_code = 1
            raise MessageError(ErrorCode.INVALID_REQUEST, _TOKEN_REQUIRED)

    def _on_notification(self, notification: Notification) -> None:
        if notification.method == types.EXIT:
            self.exit_code = 0 if self.is_shut_down else 1
        if self._phase is not _Phase.INITIALIZED or not is_notification(notification.method):
            return
        try:
            params = structure_params(self._converter, notification.method, notification.params)
        except MessageError:
            log.warning("a notification has wrong parameters: %s", notification.method)
            return
        if notification.method == types.CANCEL_REQUEST:
            self._cancel(params.id)
            return
        handler = self.fm.builtin_features.get(notification.method)
        handler = handler or self.fm.features.get(notification.method)
        if handler is not None:
            id_ = str(uuid.uuid4())
            self._execute_handler(id_, handler, self._check_handler_result, args=(params,))

    def _cancel(self, id_: Any) -> None:
        """Cancel a request of the client; the handler's end sends its answer."""
        if isinstance(id_, str | int) and id_ not in self._result_types:
            future = self._request_futures.get(id_)
            if future is not None:
                future.cancel()

    def _on_response(self, response: Response) -> None:
        """Complete our own request; pygls notes those in `_result_types`."""
        if response.id is None or response.id not in self._result_types:
            log.warning("a response belongs to no request")
            return
        expected = self._result_types.pop(response.id)
        future = self._request_futures.pop(response.id, None)
        if future is None or future.done():  # cancelled meanwhile
            return
        if response.error is not None:
            future.set_exception(_client_error(response.error))
            return
        try:
            result_type = attrs.fields(expected).result.type
            future.set_result(self._converter.structure(response.result, result_type))
        except Exception:  # cattrs raises exceptions of many types
            message = "The client's answer cannot be used: its type is wrong."
            future.set_exception(JsonRpcException(message, ErrorCode.INVALID_PARAMS))

    # Answers.

    def _refuse(self, id_: Any, error: MessageError) -> None:
        log.warning("a message was refused: error %d", error.code)
        # Not as an object of lsprotocol, which leaves out an id that is null.
        answer = {"code": error.code, "message": error.message}
        self._send_data({"jsonrpc": self.VERSION, "id": id_, "error": answer})

    def _send_handler_result(self, future: Future[Any], *, msg_id: Any) -> None:
        """Answer a request; pygls would send the message and the traceback of any exception."""
        self._request_futures.pop(msg_id, None)
        if future.cancelled():
            error = types.ResponseError(ErrorCode.REQUEST_CANCELLED, "The request was cancelled.")
            self._send_response(msg_id, error=error)
        elif (failure := future.exception()) is not None:
            self._send_response(msg_id, error=_response_error(failure))
        else:
            self._send_response(msg_id, future.result())

    def _check_handler_result(self, future: Future[Any]) -> None:
        """Report that a notification failed; pygls would pass an error without its traceback."""
        self._forget_ended()
        if not future.cancelled() and isinstance(failure := future.exception(), Exception):
            self._server._report_server_error(failure, FeatureNotificationError)

    def _forget_ended(self) -> None:
        """Forget handlers that have ended; pygls keeps those of notifications for ever."""
        running = self._request_futures.items()
        for id_ in [id_ for id_, future in running if future.done()]:
            if id_ not in self._result_types:
                del self._request_futures[id_]

    def cancel_requests(self) -> None:
        """Cancel all requests in flight, when the connection has ended."""
        for future in list(self._request_futures.values()):
            future.cancel()

    # Methods of LSP.

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(
        self, params: types.InitializeParams
    ) -> Generator[Any, Any, types.InitializeResult]:
        """Initialize the session; if this fails, the client may try again."""
        result = yield from super().lsp_initialize(params)
        self._phase = _Phase.INITIALIZED
        return result

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # type: ignore[override]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        """Run a command. A coroutine, unlike pygls's method, so that it can be cancelled."""
        command = self.fm.commands.get(params.command)
        if command is None:
            raise JsonRpcException("This command is not known.", ErrorCode.INVALID_PARAMS)
        result = command(*(params.arguments or ()))
        return await result if asyncio.iscoroutine(result) else result

    @lsp_method(types.SHUTDOWN)
    async def lsp_shutdown(self, *args: Any) -> None:  # type: ignore[override]
        """End the session; the requests in flight are answered as cancelled."""
        for id_, future in list(self._request_futures.items()):
            if id_ != self.msg_id:
                future.cancel()
        await self.fm.features[types.SHUTDOWN](*args)

    @lsp_method(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def lsp_workspace__did_change_workspace_folders(
        self, params: types.DidChangeWorkspaceFoldersParams
    ) -> Generator[Any, Any, None]:
        """Change the folders of the workspace, then call our handler."""
        assert isinstance(self.workspace, WorkspaceWithDocuments)
        self.workspace.change_folders(params.event)
        yield self.fm.features[types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS], (params,), None

    def use_document_class(self, document_class: type[TextDocument]) -> None:
        """Make the workspace create documents of this class; call before any document is open.

        pygls creates the workspace itself when it handles `initialize` and has no argument for its
        class, so the attribute `_workspace` is the only way to replace it.
        """
        old = self.workspace
        self._workspace = WorkspaceWithDocuments(
            document_class,
            old.root_uri,
            self._server._text_document_sync_kind,
            list(old.folders.values()),
            old.position_encoding,
        )


def _response_error(error: BaseException) -> types.ResponseError:
    """Return the error that the client gets; an unexpected exception is logged."""
    if isinstance(error, StarcoderError):
        return types.ResponseError(error.lsp_code, error.user_message)
    if isinstance(error, JsonRpcException) and error.code != ErrorCode.INTERNAL_ERROR:
        return types.ResponseError(error.code, error.message)
    log.error("a request failed", exc_info=error)
    return types.ResponseError(ErrorCode.INTERNAL_ERROR, INTERNAL_ERROR_MESSAGE)


def _client_error(error: Any) -> JsonRpcException:
    """Return the exception for the error in a client's response, whatever it contains."""
    code = error.get("code") if isinstance(error, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return JsonRpcException(
        message if isinstance(message, str) else "The client gave no reason.",
        code if isinstance(code, int) else ErrorCode.INVALID_REQUEST,
    )

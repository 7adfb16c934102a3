"""`starcoder/chat/*`: conversations with the model. Answers stream as `$/progress`.

The client shows; the conversation lives here and on this machine's disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lsprotocol import types
from pygls.uris import to_fs_path

from chat.attachments import Attachment
from chat.conversations import OnText, StoredAnswer
from chat.slash import COMMANDS
from engine.errors import RequestError
from lsp_server.handlers.custom_requests import Params, ProgressToken, Span, register
from lsp_server.session.documents import Document
from lsp_server.session.server import StarcoderServer

MAX_FILE_BYTES = 200_000
"""A file that is attached may be this long: far more than any window holds."""


class Attached(Params):
    """What the client wants to show the model; the text is read here where it can be."""

    kind: Literal["selection", "file", "diagnostics", "terminal"]
    uri: str | None = None
    range: Span | None = None
    text: str | None = None
    label: str | None = None


class Nothing(Params):
    """No parameters."""


class One(Params):
    """One conversation."""

    conversation: str


class Retry(One):
    """Answer again."""

    partial_result_token: ProgressToken | None = None


class Send(Retry):
    """Say something."""

    text: str
    attachments: tuple[Attached, ...] = ()


class Edit(Retry):
    """Say something else instead."""

    turn: str
    text: str


class Attach(Params):
    """What chips to show."""

    attachments: tuple[Attached, ...]


def register_chat(server: StarcoderServer) -> None:
    """Register the requests."""
    register(server, "starcoder/chat/create", Nothing, _create)
    register(server, "starcoder/chat/list", Nothing, _list)
    register(server, "starcoder/chat/get", One, _get)
    register(server, "starcoder/chat/send", Send, _send)
    register(server, "starcoder/chat/retry", Retry, _retry)
    register(server, "starcoder/chat/edit", Edit, _edit)
    register(server, "starcoder/chat/stop", One, _stop)
    register(server, "starcoder/chat/delete", One, _delete)
    register(server, "starcoder/chat/clear", Nothing, _clear)
    register(server, "starcoder/chat/export", One, _export)
    register(server, "starcoder/chat/attach", Attach, _attach)
    register(server, "starcoder/chat/commands", Nothing, _commands)


async def _create(server: StarcoderServer, _: Nothing) -> dict[str, Any]:
    return {"id": (await server.conversations.create(workspace_of(server))).id}


async def _list(server: StarcoderServer, _: Nothing) -> list[dict[str, Any]]:
    return [asdict(one) for one in await server.conversations.list(workspace_of(server))]


async def _get(server: StarcoderServer, params: One) -> dict[str, Any]:
    found = await server.conversations.get(params.conversation)
    return {"id": found.id, "title": found.title, "turns": [asdict(one) for one in found.turns]}


async def _send(server: StarcoderServer, params: Send) -> dict[str, Any]:
    attachments = await read(server, params.attachments)
    on_text = streaming(server, params.partial_result_token)
    reply = await server.conversations.send(
        params.conversation, params.text, attachments, server.asker(), on_text
    )
    return _reply(reply)


async def _retry(server: StarcoderServer, params: Retry) -> dict[str, Any]:
    on_text = streaming(server, params.partial_result_token)
    return _reply(await server.conversations.retry(params.conversation, server.asker(), on_text))


async def _edit(server: StarcoderServer, params: Edit) -> dict[str, Any]:
    on_text = streaming(server, params.partial_result_token)
    reply = await server.conversations.edit(
        params.conversation, params.turn, params.text, server.asker(), on_text
    )
    return _reply(reply)


async def _stop(server: StarcoderServer, params: One) -> None:
    await server.conversations.stop(params.conversation)


async def _delete(server: StarcoderServer, params: One) -> None:
    await server.conversations.delete(params.conversation)


async def _clear(server: StarcoderServer, _: Nothing) -> None:
    await server.conversations.clear(workspace_of(server))


async def _export(server: StarcoderServer, params: One) -> dict[str, Any]:
    return {"markdown": await server.conversations.export(params.conversation)}


async def _attach(server: StarcoderServer, params: Attach) -> list[dict[str, Any]]:
    asker = server.asker()
    return [
        {
            "kind": one.kind,
            "label": one.label,
            "language": one.language,
            "tokens": await asker.count(one.text),
        }
        for one in await read(server, params.attachments)
    ]


async def _commands(_: StarcoderServer, __: Nothing) -> list[dict[str, Any]]:
    return [{"name": one.name, "description": one.description} for one in COMMANDS]


def streaming(server: StarcoderServer, token: ProgressToken | None) -> OnText:
    """Return what sends pieces of an answer to the client, under the token that it gave."""

    def send(text: str) -> None:
        if token is not None:
            server.progress(types.ProgressParams(token, {"text": text}))

    return send


def workspace_of(server: StarcoderServer) -> str:
    """Return what conversations are kept under: the workspace's root, or nothing."""
    return server.workspace.root_uri or ""


async def read(server: StarcoderServer, wanted: Sequence[Attached]) -> list[Attachment]:
    """Return attachments with their texts. Raises RequestError for what cannot be read."""
    return [await _read(server, one) for one in wanted]


async def _read(server: StarcoderServer, wanted: Attached) -> Attachment:
    if wanted.kind in ("diagnostics", "terminal") or wanted.uri is None:
        if wanted.text is None:
            raise RequestError(f"The attached {wanted.kind} has no text.")
        label = wanted.label or wanted.kind.capitalize()
        return Attachment(wanted.kind, label, wanted.text)
    document = server.workspace.text_documents.get(wanted.uri)
    name = wanted.label or path_of(wanted.uri).name
    if isinstance(document, Document):
        language = document.language_id or ""
        if wanted.range is None:
            return Attachment(wanted.kind, name, document.source, language)
        start = document.offset_at_position(wanted.range.start.lsp)
        end = document.offset_at_position(wanted.range.end.lsp)
        # A selection that ends at the beginning of a line does not mean that line.
        whole = wanted.range.end.character == 0 and wanted.range.end.line > wanted.range.start.line
        last = wanted.range.end.line + (0 if whole else 1)
        lines = f"{wanted.range.start.line + 1}-{last}"
        label = wanted.label or f"{name}:{lines}"
        return Attachment(wanted.kind, label, document.source[start:end], language)
    if wanted.range is not None:
        raise RequestError(f"{name} is not open, so nothing in it can be selected.")
    return Attachment(wanted.kind, name, await asyncio.to_thread(_file, path_of(wanted.uri)))


def path_of(uri: str) -> Path:
    """Return the path of a URI; of one that names no file, the path within it."""
    return Path(to_fs_path(uri) or urlsplit(uri).path)


def _file(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RequestError(f"{path.name} is too long to attach; select a part of it.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"{path.name} cannot be read as text.") from None


def _reply(reply: StoredAnswer) -> dict[str, Any]:
    told: dict[str, Any] = {"turn": asdict(reply.turn), "leftOut": reply.num_left_out}
    if reply.usage is not None:
        told["usage"] = {
            "promptTokens": reply.usage.prompt_tokens,
            "completionTokens": reply.usage.completion_tokens,
            "reusedTokens": reply.usage.reused_tokens,
            "milliseconds": round(reply.usage.prefill_ms + reply.usage.decode_ms, 1),
        }
    return told

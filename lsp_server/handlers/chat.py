"""`starcoder/chat/*`: conversations with the model. Answers are streamed as `$/progress`.

The client only shows conversations; the server keeps them on this machine's disk.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from chat.conversations import OnText, StoredAnswer
from chat.slash import COMMANDS
from chat.store import Turn
from engine.api import Usage
from lsp_server.session.attachments import AttachmentParams, read_attachments
from lsp_server.session.protocol import NoParams, Params, ProgressToken
from lsp_server.session.server import StarcoderServer


class ConversationParams(Params):
    """One conversation."""

    conversation: str
    """The id of the conversation."""


class RetryParams(ConversationParams):
    """A conversation whose last message is answered again."""

    partial_result_token: ProgressToken | None = None
    """Token under which the pieces of the answer are sent."""


class SendParams(RetryParams):
    """A new message."""

    text: str
    attachments: tuple[AttachmentParams, ...] = ()


class EditParams(RetryParams):
    """A new text for one of the user's messages."""

    turn: str
    """The id of the message."""
    text: str


class AttachParams(Params):
    """Attachments that the client wants to show before they are sent."""

    attachments: tuple[AttachmentParams, ...]


async def create(server: StarcoderServer, _: NoParams) -> dict[str, Any]:
    """Create a conversation in the workspace. `problem` says why it cannot be stored."""
    conversation = await server.chat.conversations.create(server.documents.root_uri)
    return {"id": conversation.id, "problem": server.chat.storage_problem}


async def list_conversations(server: StarcoderServer, _: NoParams) -> list[dict[str, Any]]:
    """Return the conversations of the workspace, newest first."""
    summaries = await server.chat.conversations.list(server.documents.root_uri)
    return [
        {"id": summary.id, "title": summary.title, "changed": summary.changed}
        for summary in summaries
    ]


async def get(server: StarcoderServer, params: ConversationParams) -> dict[str, Any]:
    """Return a conversation with its messages."""
    conversation = await server.chat.conversations.get(params.conversation)
    return {
        "id": conversation.id,
        "title": conversation.title,
        "turns": [_turn_payload(turn) for turn in conversation.turns],
    }


async def send(server: StarcoderServer, params: SendParams) -> dict[str, Any]:
    """Add a message and return the answer."""
    attachments = await read_attachments(server.documents, params.attachments)
    on_text = _text_sender(server, params.partial_result_token)
    reply = await server.chat.conversations.send(
        params.conversation, params.text, attachments, server.chat.asker, on_text
    )
    return _reply_payload(reply)


async def retry(server: StarcoderServer, params: RetryParams) -> dict[str, Any]:
    """Answer the last message again."""
    on_text = _text_sender(server, params.partial_result_token)
    reply = await server.chat.conversations.retry(params.conversation, server.chat.asker, on_text)
    return _reply_payload(reply)


async def edit(server: StarcoderServer, params: EditParams) -> dict[str, Any]:
    """Replace one of the user's messages, drop what follows it, and return the answer."""
    on_text = _text_sender(server, params.partial_result_token)
    reply = await server.chat.conversations.edit(
        params.conversation, params.turn, params.text, server.chat.asker, on_text
    )
    return _reply_payload(reply)


async def stop(server: StarcoderServer, params: ConversationParams) -> None:
    """Stop the answer of a conversation."""
    await server.chat.conversations.stop(params.conversation)


async def delete(server: StarcoderServer, params: ConversationParams) -> None:
    """Delete a conversation."""
    await server.chat.conversations.delete(params.conversation)


async def clear(server: StarcoderServer, _: NoParams) -> None:
    """Delete all conversations of the workspace."""
    await server.chat.conversations.clear(server.documents.root_uri)


async def export(server: StarcoderServer, params: ConversationParams) -> dict[str, Any]:
    """Return a conversation as markdown."""
    return {"markdown": await server.chat.conversations.export(params.conversation)}


async def attach(server: StarcoderServer, params: AttachParams) -> list[dict[str, Any]]:
    """Return how attachments are labelled and how many tokens each one has."""
    asker = server.chat.asker
    return [
        {
            "kind": attachment.kind,
            "label": attachment.label,
            "language": attachment.language,
            "tokens": await asker.count(attachment.text),
        }
        for attachment in await read_attachments(server.documents, params.attachments)
    ]


async def commands(_: StarcoderServer, __: NoParams) -> list[dict[str, Any]]:
    """Return the slash commands."""
    return [{"name": command.name, "description": command.description} for command in COMMANDS]


def _text_sender(server: StarcoderServer, token: ProgressToken | None) -> OnText:
    """Return a function that sends pieces of an answer under the client's token."""

    def send_text(text: str) -> None:
        if token is not None:
            server.progress(types.ProgressParams(token, {"text": text}))

    return send_text


def _reply_payload(reply: StoredAnswer) -> dict[str, Any]:
    payload: dict[str, Any] = {"turn": _turn_payload(reply.turn), "leftOut": reply.num_left_out}
    if reply.usage is not None:
        payload["usage"] = _usage_payload(reply.usage)
    return payload


def _turn_payload(turn: Turn) -> dict[str, Any]:
    return {
        "id": turn.id,
        "role": turn.role,
        "content": turn.content,
        "attachments": [
            {
                "kind": attachment.kind,
                "label": attachment.label,
                "text": attachment.text,
                "language": attachment.language,
            }
            for attachment in turn.attachments
        ],
        "state": turn.state,
    }


def _usage_payload(usage: Usage) -> dict[str, Any]:
    return {
        "promptTokens": usage.prompt_tokens,
        "completionTokens": usage.completion_tokens,
        "reusedTokens": usage.reused_tokens,
        "milliseconds": round(usage.prefill_ms + usage.decode_ms, 1),
    }

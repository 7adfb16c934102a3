"""`starcoder/chat/*`: conversations with the model. Answers are streamed as `$/progress`.

The client only shows conversations; the server keeps them on this machine's disk.
"""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from chat.answering import OnText, StoredAnswer
from chat.attachments import Attachment
from chat.slash import COMMANDS
from chat.turns import Turn
from engine.api import Usage
from engine.errors import RequestError
from lsp_server.session.exclusions import Exclusions
from lsp_server.session.message_attachments import DraftParams, bare_command, find_attachments
from lsp_server.session.protocol import NoParams, Params, ProgressToken
from lsp_server.session.server import StarcoderServer

_NO_DIALOGUES = "not trained on dialogues, so its answers may be poor"


class ConversationParams(Params):
    """One conversation."""

    conversation: str
    """The id of the conversation."""


class RetryParams(ConversationParams):
    """A conversation whose last message is answered again."""

    partial_result_token: ProgressToken | None = None
    """Token under which the pieces of the answer are sent."""


class SendParams(DraftParams, RetryParams):
    """A new message."""


class ListParams(Params):
    """Which conversations the client wants to show."""

    query: str = ""
    """Words that they contain."""


class RenameParams(ConversationParams):
    """A new title for a conversation."""

    title: str


class EditParams(RetryParams):
    """A new text for one of the user's messages."""

    turn: str
    """The id of the message."""
    text: str


async def create(server: StarcoderServer, _: NoParams) -> dict[str, Any]:
    """Create a conversation in the workspace. `problem` says why it cannot be stored."""
    conversation = await server.chat.conversations.create(server.documents.root_uri)
    return {"id": conversation.id, "problem": server.chat.storage_problem}


async def list_conversations(server: StarcoderServer, params: ListParams) -> list[dict[str, Any]]:
    """Return the conversations of the workspace that contain the query's words, newest first."""
    root = server.documents.root_uri
    summaries = await server.chat.conversations.list(root, params.query)
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
    conversations = server.chat.conversations
    attached = await find_attachments(server.documents, params, _exclusions(server).allows)
    command = None if attached else bare_command(params.text)
    if command and not (await conversations.get(params.conversation)).turns:
        raise RequestError(
            f"/{command} needs code. Select some, put the cursor into a function, or attach a file."
        )
    attachments = [each.attachment for each in attached]
    on_text = _text_sender(server, params.partial_result_token)
    reply = await conversations.send(
        params.conversation, params.text, attachments, server.chat.asker, on_text
    )
    return _reply_payload(reply)


async def retry(server: StarcoderServer, params: RetryParams) -> dict[str, Any]:
    """Answer the last message again."""
    on_text = _text_sender(server, params.partial_result_token)
    reply = await server.chat.conversations.retry(params.conversation, server.chat.asker, on_text)
    return _reply_payload(reply)


async def continue_answer(server: StarcoderServer, params: RetryParams) -> dict[str, Any]:
    """Continue the last answer, and return it as a whole."""
    on_text = _text_sender(server, params.partial_result_token)
    reply = await server.chat.conversations.continue_answer(
        params.conversation, server.chat.asker, on_text
    )
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


async def rename(server: StarcoderServer, params: RenameParams) -> dict[str, Any]:
    """Give a conversation another title."""
    title = await server.chat.conversations.rename(params.conversation, params.title)
    return {"title": title}


async def delete(server: StarcoderServer, params: ConversationParams) -> None:
    """Delete a conversation."""
    await server.chat.conversations.delete(params.conversation)


async def clear(server: StarcoderServer, _: NoParams) -> None:
    """Delete all conversations of the workspace."""
    await server.chat.conversations.clear(server.documents.root_uri)


async def export(server: StarcoderServer, params: ConversationParams) -> dict[str, Any]:
    """Return a conversation as markdown."""
    return {"markdown": await server.chat.conversations.export(params.conversation)}


async def attach(server: StarcoderServer, params: DraftParams) -> list[dict[str, Any]]:
    """Return what a message would attach if it was sent now."""
    attached = await find_attachments(server.documents, params, _exclusions(server).allows)
    sizes = await server.chat.sizes([each.attachment.text for each in attached])
    return [
        {
            **_attachment_payload(each.attachment),
            "source": each.source,
            "mention": each.mention,
            "tokens": None if sizes is None else sizes.tokens[index],
            "room": None if sizes is None else sizes.room,
        }
        for index, each in enumerate(attached)
    ]


async def model(server: StarcoderServer, _: NoParams) -> dict[str, Any]:
    """Return the model that answers, and a hint if it was not trained on dialogues."""
    answering = await server.chat.model()
    if answering is None:
        return {"model": server.chat.expected_model, "format": None, "hint": ""}
    return {
        "model": answering.name,
        "format": answering.format_name,
        "hint": "" if answering.knows_dialogues else _NO_DIALOGUES,
    }


async def commands(_: StarcoderServer, __: NoParams) -> list[dict[str, Any]]:
    """Return the slash commands."""
    return [{"name": command.name, "description": command.description} for command in COMMANDS]


def _exclusions(server: StarcoderServer) -> Exclusions:
    return Exclusions(server.settings.exclude, folder_uris=server.documents.folder_uris)


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
            {**_attachment_payload(attachment), "text": attachment.text}
            for attachment in turn.attachments
        ],
        "state": turn.state,
        "model": turn.model,
    }


def _attachment_payload(attachment: Attachment) -> dict[str, str]:
    return {
        "kind": attachment.kind,
        "label": attachment.label,
        "language": attachment.language,
    }


def _usage_payload(usage: Usage) -> dict[str, Any]:
    return {
        "promptTokens": usage.prompt_tokens,
        "completionTokens": usage.completion_tokens,
        "reusedTokens": usage.reused_tokens,
        "milliseconds": round(usage.prefill_ms + usage.decode_ms, 1),
    }

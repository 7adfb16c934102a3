"""`starcoder/chat/run`: runs a code block of an answer in the sandbox."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from chat.attachments import CodeBlock, fenced_blocks
from engine.errors import RequestError
from lsp_server.session.protocol import Params, UInteger
from lsp_server.session.server import StarcoderServer
from lsp_server.session.uris import file_of, folder_of

_CHANGED = "The conversation has changed. Open it again."


class RunParams(Params):
    """Which code block to run. The server takes its text from the stored conversation."""

    conversation: str
    turn: str
    """The id of the answer."""
    block: UInteger
    """The number of the fenced code block in the answer, from 0."""
    text: str | None = None
    """The code that the client shows for this block; code that differs does not run."""
    uri: str | None = None
    """A document of the workspace folder in which the code runs, else it is the first folder."""


async def run(server: StarcoderServer, params: RunParams) -> dict[str, Any]:
    """Run a code block and return its output and figures."""
    block = await _find_block(server, params)
    done = await server.code_runs.run(block, _folder(server, params.uri))
    return {
        "outcome": done.outcome,
        "output": done.output,
        "figures": [base64.b64encode(figure).decode() for figure in done.figures],
        "seconds": round(done.seconds, 3),
    }


async def _find_block(server: StarcoderServer, params: RunParams) -> CodeBlock:
    conversation = await server.chat.conversations.get(params.conversation)
    answers = (turn for turn in conversation.turns if turn.role == "assistant")
    answer = next((turn for turn in answers if turn.id == params.turn), None)
    if answer is None:
        raise RequestError(_CHANGED)
    blocks = fenced_blocks(answer.content)
    if params.block >= len(blocks):
        raise RequestError(f"The answer has no code block {params.block}.")
    block = blocks[params.block]
    if params.text is not None and params.text.split() != block.text.split():
        raise RequestError(_CHANGED)
    return block


def _folder(server: StarcoderServer, uri: str | None) -> Path | None:
    """Return the workspace folder of a document, or the first one that is on this machine."""
    file = None if uri is None else file_of(uri)
    if file is not None and (folder := server.documents.folder_of(file)) is not None:
        return folder
    folders = (folder_of(each) for each in server.documents.folder_uris())
    return next((folder for folder in folders if folder is not None), None)

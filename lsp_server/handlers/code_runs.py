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


class RunParams(Params):
    """Which code block to run. The server takes its text from the stored conversation."""

    conversation: str
    turn: str
    """The id of the answer."""
    block: UInteger
    """The number of the fenced code block in the answer, from 0."""
    text: str | None = None
    """The code that the client shows. Only this code runs, also if the client counts the blocks of
    unusual markdown, such as those in a quotation, in another way."""
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
        raise RequestError("The conversation does not have this answer. Open it again.")
    blocks = fenced_blocks(answer.content)
    by_number = blocks[params.block : params.block + 1]
    if params.text is None:
        matches = by_number
    else:
        shown = _lines(params.text)
        matches = [block for block in (*by_number, *blocks) if _lines(block.text) == shown]
    if not matches:
        raise RequestError("The answer does not have this code block. Open the conversation again.")
    return matches[0]


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _folder(server: StarcoderServer, uri: str | None) -> Path | None:
    """Return the workspace folder of a document, or the first one that is on this machine."""
    file = None if uri is None else file_of(uri)
    if file is not None and (folder := server.documents.folder_of(file)) is not None:
        return folder
    folders = (folder_of(each) for each in server.documents.folder_uris())
    return next((folder for folder in folders if folder is not None), None)

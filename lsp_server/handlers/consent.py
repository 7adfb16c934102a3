"""The command `starcoder.forgetConsent`: ask again before generated code runs."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from engine.errors import reason_of
from lsp_server.session.server import StarcoderServer


async def forget_command(server: StarcoderServer, *_: Any) -> dict[str, Any]:
    """Forget the user's answers for the folders of this client, and say so."""
    try:
        await server.consent.forget(server.documents.project_folders())
    except OSError as error:
        message = f"The answers cannot be forgotten: {reason_of(error)}."
        server.status.show_message(message, types.MessageType.Warning)
        return {"forgotten": False}
    mode = server.consent.mode
    message = "StarCoder asks again before it runs generated code here."
    if mode != "ask":
        message = (
            f"The answers are forgotten, but StarCoder does not ask: starcoder.runTests is {mode}"
            + (", or the workspace is not trusted." if mode == "never" else ".")
        )
    server.status.show_message(message, types.MessageType.Info)
    return {"forgotten": True}

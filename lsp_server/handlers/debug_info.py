"""`starcoder/debugInfo`: the state that a bug report needs."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from engine.api import Engine
from lsp_server import __version__
from lsp_server.session.server import StarcoderServer

_HEAVY_MODULES = {"torch", "transformers", "accelerate"}
"""Modules that must not be imported in the editor's process."""


async def debug_info(server: StarcoderServer, _: Any) -> dict[str, Any]:
    """Return the state of server and engine; of documents only length and hash, never text."""
    chat_engine = server.chat_engine.own
    return {
        "version": __version__,
        "pid": os.getpid(),
        "engine": await _state_of(server.engine.current),
        "chatEngine": None if chat_engine is None else await _state_of(chat_engine),
        "status": server.status.current.payload(),
        "heavyModules": sorted(_HEAVY_MODULES & set(sys.modules)),
        "positionEncoding": server.workspace.position_encoding,
        "documents": [
            {
                "uri": document.uri,
                "version": document.version,
                "length": len(document.source),
                "sha256": _sha256(document.source),
            }
            for document in server.documents.open_documents()
        ],
    }


async def _state_of(engine: Engine) -> dict[str, Any]:
    health = await engine.health()
    return {"state": health.state, "detail": health.detail, "pid": health.pid}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

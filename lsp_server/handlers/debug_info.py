"""`starcoder/debugInfo`: the state that a bug report needs."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

from lsp_server import __version__
from lsp_server.session.server import StarcoderServer

_HEAVY_MODULES = {"torch", "transformers", "accelerate"}
"""Modules that must not be imported in the editor's process."""


async def debug_info(server: StarcoderServer, _: Any) -> dict[str, Any]:
    """Return the state of server and engine; of documents only length and hash, never text."""
    health = await server.engine.current.health()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "engine": {"state": health.state, "detail": health.detail, "pid": health.pid},
        "status": server.status.current.payload(),
        "heavyModules": sorted(_HEAVY_MODULES & set(sys.modules)),
        "positionEncoding": server.workspace.position_encoding,
        "documents": [
            {
                "uri": uri,
                "version": document.version,
                "length": len(document.source),
                "sha256": _sha256(document.source),
            }
            for uri, document in server.documents.open_documents().items()
        ],
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

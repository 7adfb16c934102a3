"""Errors in the shape of the API that a client uses: OpenAI's, llama.cpp's or Ollama's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.apis import llama_cpp_answers, ollama

LLAMA_CPP_PATHS = frozenset({"/infill", "/completion", "/completions", "/props"})
OLLAMA_PREFIX = "/api/"


def translated(path: str, status: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an error body of OpenAI's shape in the shape that clients of a path expect."""
    error = body.get("error")
    if not isinstance(error, Mapping):
        return body
    if path.startswith(OLLAMA_PREFIX):
        return ollama.error_body(error["message"])
    if path in LLAMA_CPP_PATHS:
        return llama_cpp_answers.error_body(status, error["message"], error["type"])
    return body


def is_foreign(path: str) -> bool:
    """Return whether a path belongs to another API than OpenAI's."""
    return path.startswith(OLLAMA_PREFIX) or path in LLAMA_CPP_PATHS


class ErrorShapes:
    """Translates the errors of the application and of all middleware within."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http" or not is_foreign(scope["path"]):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def translate(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                await _send_translated(scope["path"], start, body, send)

        await self._app(scope, receive, translate)


async def _send_translated(path: str, start: Message, body: bytes, send: Send) -> None:
    if body:
        body = json.dumps(translated(path, start["status"], json.loads(body))).encode()
    headers = [
        (name, str(len(body)).encode() if name == b"content-length" else value)
        for name, value in start["headers"]
    ]
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": body})

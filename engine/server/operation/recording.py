"""Records each request: middleware around all routes, and the engine as all routes see it.

No route can avoid it. The middleware attaches a record to every request, and whatever a route asks
of the engine is recorded there, because the route has no other engine.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import replace

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.api import (
    Chunk,
    EngineInfo,
    EngineMetrics,
    GenerationRequest,
    Health,
    Progress,
    ScoringEngine,
    TokenLogprob,
)
from engine.errors import RequestError, StarcoderError
from engine.server.operation.request_record import (
    EndReason,
    RequestObserver,
    RequestRecord,
    attach_record,
)
from engine.tokenizer import Tokenizer

CLIENT_CLOSED_REQUEST = 499
"""Status code of nginx for a response that no client receives."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUSY = 503
_CURRENT: ContextVar[RequestRecord | None] = ContextVar("record", default=None)
"""The record of the request that the running task answers, or a task that it has started."""


class RequestRecorder:
    """Attaches a record to each request, and passes it to the observers when the request ends."""

    def __init__(self, app: ASGIApp, observers: Sequence[RequestObserver]) -> None:
        self._app, self._observers = app, observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        record = RequestRecord(method, _route_of(scope))
        attach_record(scope, record)
        token = _CURRENT.set(record)
        is_complete = False

        async def send_and_record(message: Message) -> None:
            nonlocal is_complete
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)
            is_complete = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            await self._app(scope, receive, send_and_record)
        except Exception:
            record.has_failed = True
            record.status = record.status or 500
            raise
        finally:
            _CURRENT.reset(token)
            record.ended = time.monotonic()
            record.end = _end_reason(record, is_complete)
            for observer in self._observers:
                observer(record)


def _route_of(scope: Scope) -> str:
    """Return the path of the route that answers, whatever the method; empty if there is none."""
    for route in scope["app"].routes:
        if route.matches(scope)[0] is not Match.NONE:
            path: str = route.path
            return path
    return ""


def _end_reason(record: RequestRecord, is_complete: bool) -> EndReason:
    status = record.status
    if record.has_failed:
        return EndReason.FAILED
    if not is_complete or status is None or status == CLIENT_CLOSED_REQUEST:
        return EndReason.CANCELLED
    if 400 <= status < 500 or status == _BUSY:
        return EndReason.REFUSED
    return EndReason.FAILED if status >= 500 else EndReason.FINISHED


class RecordedEngine:
    """An engine that writes down what it does for the current request; see `ScoringEngine`."""

    def __init__(self, engine: ScoringEngine) -> None:
        self._engine = engine
        self._open: set[Progress] = set()
        self._num_waiting_for_model = 0

    @property
    def num_waiting(self) -> int:
        """Number of questions that wait for the model to be loaded, or for others to end."""
        return self._num_waiting_for_model + sum(each.started is None for each in self._open)

    async def health(self) -> Health:
        """See `Engine.health`."""
        return await self._engine.health()

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        with self._waiting_for_model():
            return await self._engine.info()

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`."""
        with self._waiting_for_model():
            return await self._engine.tokenizer(adapter)

    def metrics(self) -> EngineMetrics:
        """See `ScoringEngine.metrics`."""
        return self._engine.metrics()

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self._engine.aclose()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`. The request gets the user of the current HTTP request."""
        record = current_record()
        with self._recorded(record, Progress(len(request.prompt))) as progress:
            request = replace(request, user=record.user, progress=progress)
            async with aclosing(self._engine.stream(request)) as chunks:
                previous: float | None = None
                async for chunk in chunks:
                    now = time.monotonic()
                    if record.first_token is None:
                        record.first_token = now
                    if previous is not None and chunk.ids:
                        record.token_gaps.append(
                            ((now - previous) / len(chunk.ids), len(chunk.ids))
                        )
                    previous = now
                    if chunk.usage is not None:
                        progress.usage = chunk.usage
                    yield chunk

    async def score(
        self, ids: tuple[int, ...], top: int, *, user: str = "", progress: Progress | None = None
    ) -> list[TokenLogprob | None]:
        """See `ScoringEngine.score`. The user is that of the current HTTP request."""
        record = current_record()
        progress = Progress(len(ids), is_scoring=True)
        with self._recorded(record, progress):
            scores = await self._engine.score(ids, top, user=record.user, progress=progress)
            progress.rows = len(ids)
            return scores

    @contextmanager
    def _waiting_for_model(self) -> Iterator[None]:
        self._num_waiting_for_model += 1
        try:
            yield
        finally:
            self._num_waiting_for_model -= 1

    @contextmanager
    def _recorded(self, record: RequestRecord, progress: Progress) -> Iterator[Progress]:
        """Add an output to a record, charge the user, and note a failure inside the block.

        Raises Refusal if the user has fewer tokens left than the prompt has.
        """
        account, prompt_length = record.account, progress.prompt_length
        if account is not None:
            account.reserve(prompt_length)
        record.outputs.append(progress)
        self._open.add(progress)
        try:
            yield progress
        except RequestError:
            raise
        except StarcoderError:
            record.has_failed = True
            raise
        finally:
            self._open.discard(progress)
            if account is not None:
                account.settle(prompt_length, progress.prompt_tokens + progress.completion_tokens)


def current_record() -> RequestRecord:
    """Return the record of the request that the running task answers."""
    record = _CURRENT.get()
    if record is None:
        raise RuntimeError("The engine of an application is used outside of a request.")
    return record

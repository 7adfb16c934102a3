"""An engine at a URL: watched, asked again after failures, and followed when its model changes.

The state of the server is known from two sources: `engine.client.remote_health` asks it now and
then, and every request that fails is a sign. A server that lists its model may still fail to
generate. So after a failed request it counts as ready only when it has also generated one token.

While the server fails, requests fail immediately with its last error. It is asked again after
delays that grow (`engine.client.retry`); a request that a user makes on purpose may ask it earlier,
but never more often than once a second, and never before the time that the server itself named.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from engine.api import Chunk, EngineInfo, EngineState, GenerationRequest, Health, Priority
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.remote_health import ask_server
from engine.client.remote_model import RemoteModel, identity_of
from engine.client.retry import Backoff
from engine.client.tokenizer_check import check_tokenizer
from engine.client.unreachable import silent_server
from engine.errors import (
    ConfigurationError,
    EngineBusyError,
    EngineLostError,
    EngineReplacedError,
    RequestError,
    StarcoderError,
)
from engine.tokenizer import Tokenizer

CHECK_S = 5.0
"""Seconds between two questions to a server that is ready."""
_LOADING_S = 1.0
"""Seconds between two questions to a server that is loading its model."""
_LEAST_S = 1.0
"""Least seconds between two questions to a server that fails."""
_OUTPUT_S = 10.0
"""Seconds after which a server that has not generated one token counts as hung."""
_SILENT_S = 15.0
"""Seconds without output after which the server is asked for a token, because each key cancels the
request before it, so that no single request waits for long."""


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the server."""

    state: EngineState = EngineState.STARTING
    detail: str = ""
    """Current activity, or the reason of a failure, as a message for the user."""
    progress: float | None = None
    info: EngineInfo | None = None
    """The model, if the state is READY."""
    generation: int = 0
    """Number of different models that the server has had: the token ids of one mean nothing to
    the next."""
    note: str = ""
    """What the server does not report, as sentences for the user; empty if nothing is known to be
    missing."""


class RemoteEngine:
    """Implements `engine.api.Engine` for a server at a URL."""

    def __init__(self, endpoint: Endpoint, model: RemoteModel | None = None) -> None:
        self.endpoint = endpoint
        self._choice = model or RemoteModel()
        self._http: HttpEngine | None = None
        self._error: StarcoderError | None = None
        self._identity = ""
        self._generation = 0
        self._known_generation = 0
        """The model that callers know, and whose token ids they send."""
        self._backoff = Backoff()
        self._doubts_output = False
        """Whether the last request failed, so that a list of models is no proof."""
        self._silent_since: float | None = None
        """Start of the first request since the last output."""
        self._is_silent = False
        """Whether requests have had no output for so long that the server may hang."""
        self._checking: asyncio.Task[None] | None = None
        self._due = 0.0
        self._not_before = 0.0
        """Earliest time for a question to a server that fails."""
        self._changed = asyncio.Event()
        self._is_closed = False
        self.report = Report()

    # The contract.

    async def health(self) -> Health:
        """See `Engine.health`. The server is asked only if its state may have changed."""
        with suppress(EngineReplacedError):
            if self._now() >= self._due:
                await self._check()
        if self._is_closed:
            return Health(EngineState.FAILED, "The connection to the engine is closed.")
        report = self.report
        pid = None if report.info is None else report.info.pid
        return Health(report.state, report.detail, report.progress, pid)

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        info = await self._ready()
        self._known_generation = self._generation
        return info

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`. Raises ConfigurationError if the server does not serve one."""
        await self._ready()
        self._known_generation = self._generation
        return await self._connection().tokenizer(adapter)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`.

        Raises EngineReplacedError if the server has another model than the one whose tokenizer the
        caller knows.
        """
        await self._ready()
        if self._known_generation not in (0, self._generation):
            self._known_generation = self._generation
            raise self._replaced()
        has_output = False
        self._silent_since = self._silent_since or self._now()
        try:
            async with aclosing(self._connection().stream(request)) as chunks:
                async for chunk in chunks:
                    has_output, self._silent_since = True, None
                    yield chunk
        except (GeneratorExit, asyncio.CancelledError):  # the caller has enough, or gives up
            if has_output:
                self._trust_output()
            else:
                self._doubt_silence()
            raise
        except RequestError:
            raise  # the server works, and refuses this request
        except StarcoderError as error:
            failure = await self._after_failure(error)
            raise failure from None
        self._trust_output()

    async def aclose(self) -> None:
        """Close the connections and end `reports`."""
        self._is_closed = True
        self._changed.set()
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait({self._checking})
        if self._http is not None:
            await self._http.aclose()

    # Watching.

    async def reports(self) -> AsyncGenerator[Report, None]:
        """Watch the server: yield its state now and whenever it changes, until `aclose`."""
        seen: Report | None = None
        while not self._is_closed:
            if self._now() >= self._due:
                with suppress(EngineReplacedError):  # closed meanwhile
                    await self._check()
            if self.report != seen:
                seen = self.report
                yield seen
                continue
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(0.0, self._due - self._now()))

    async def _ready(self) -> EngineInfo:
        """Return the model when the server has it. Raises the server's error if it fails."""
        while True:
            if self.report.state is EngineState.FAILED and self._now() < self._not_before:
                break
            if self.report.info is not None:
                return self.report.info
            if self.report.state is EngineState.LOADING:
                await asyncio.sleep(max(0.0, self._due - self._now()))
            await self._check()
            if self.report.state is EngineState.FAILED:
                break
        assert self._error is not None, "a failure has an error"
        raise self._error.with_traceback(None) from None

    async def _check(self) -> None:
        """Ask the server now. All callers at one time share the question, and none cancels it."""
        if not self._is_closed and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self._check_now())
        if self._checking is not None:
            await asyncio.wait({self._checking})
        if self._is_closed or self._checking is None:
            raise EngineReplacedError("Another engine was chosen meanwhile. Ask again to use it.")
        self._checking.result()  # an unexpected error

    async def _check_now(self) -> None:
        try:
            http = self._connection()
            answer = await ask_server(http.connection.client, self.endpoint.url, self._choice)
            if answer.entry is None:
                self._due = self._now() + _LOADING_S
                self._set(
                    Report(answer.state, answer.detail, answer.progress, None, self._generation)
                )
                return
            info = await self._adopt(http, answer.entry)
            if self._doubts_output or self._is_silent:
                await self._check_output(http)
                self._is_silent, self._silent_since = False, None
        except StarcoderError as error:
            self._fail(error)
            return
        if not self._doubts_output:
            self._backoff.reset()
        self._due = self._now() + CHECK_S * random.uniform(0.8, 1.2)
        self._set(Report(EngineState.READY, info=info, generation=self._generation, note=http.note))

    async def _adopt(self, http: HttpEngine, entry: Mapping[str, Any]) -> EngineInfo:
        """Return the model that the server has, and forget what is known of another."""
        identity = identity_of(entry)
        is_new = identity != self._identity
        if is_new:
            # No request may be sent to it with the token ids of another.
            self._generation += 1
            self._set(Report(detail="reading the tokenizer", generation=self._generation))
            self._identity = identity
        # After an outage, the same name may mean another model nevertheless.
        if not is_new and self.report.info is not None:
            return await http.adopt(entry)
        http.forget()
        info = await http.adopt(entry)
        await self._check_new_model(http, info)
        return info

    async def _check_new_model(self, http: HttpEngine, info: EngineInfo) -> None:
        """Raise ConfigurationError if the tokenizer is missing, or is that of another model."""
        tokenizer = await http.tokenizer()
        if self._choice.tokenizer is not None:
            await check_tokenizer(http.connection.client, tokenizer, info.model, self._choice)

    async def _check_output(self, http: HttpEngine) -> None:
        """Raise the server's error if it does not generate a token."""
        prompt = tuple((await http.tokenizer()).encode("x ="))
        request = GenerationRequest(prompt, 1, priority=Priority.PREFETCH)
        try:
            async with asyncio.timeout(_OUTPUT_S), aclosing(http.stream(request)) as chunks:
                async for _ in chunks:
                    pass
        except TimeoutError:
            raise silent_server(self.endpoint.url) from None
        except RequestError:
            pass  # it answers

    async def _after_failure(self, error: StarcoderError) -> StarcoderError:
        """Find out what a failed request means; return the error for its caller."""
        is_first, self._doubts_output = not self._doubts_output, True
        may_be_new = is_first and isinstance(error, EngineLostError | ConfigurationError)
        if may_be_new or isinstance(error, EngineReplacedError):
            # It may have been restarted, perhaps with another model, or a connection was cut.
            generation = self._generation
            await self._check()
            if self.report.state is EngineState.READY:
                return error if self._generation == generation else self._replaced()
            return self._error or error
        self._fail(error)
        return error

    def _fail(self, error: StarcoderError) -> None:
        if isinstance(error, EngineLostError):
            error = EngineLostError(
                f"The server at {self.endpoint.url} ends its connections in the middle of an "
                "answer. Check it and any proxy on the way, or set starcoder.engineUrl to another."
            )
        now = self._now()
        delay = self._backoff.fail(error.retry_after_s)
        self._due = now + delay
        is_limited = error.retry_after_s is not None or isinstance(error, EngineBusyError)
        self._not_before = self._due if is_limited else now + min(delay, _LEAST_S)
        self._error = error
        self._set(Report(EngineState.FAILED, error.user_message, generation=self._generation))

    def _doubt_silence(self) -> None:
        """Let the server be asked soon if it has not answered for too long."""
        if self._silent_since and self._now() - self._silent_since >= _SILENT_S:
            self._is_silent = True
            self._due = min(self._due, self._now())
            self._changed.set()

    def _trust_output(self) -> None:
        self._doubts_output = False
        self._backoff.reset()

    def _set(self, report: Report) -> None:
        self.report = report
        self._changed.set()

    def _connection(self) -> HttpEngine:
        """Return the client. It is created late: an unusable certificate file is then reported."""
        if self._http is None:
            self._http = HttpEngine(self.endpoint, self._choice)
        return self._http

    def _replaced(self) -> EngineReplacedError:
        info = self.report.info
        return EngineReplacedError(
            f"The engine now has the model {'' if info is None else info.model}. Ask again to use "
            "it."
        )

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

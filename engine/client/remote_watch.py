"""The state of a server at a URL, which is asked again after failures and may change its model.

The state is known from two sources: `engine.client.remote_health` asks the server now and then, and
every request that fails is a sign. A server that lists its model may still fail to generate. So
after a failed request it counts as ready only when it has also generated one token.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from engine.api import EngineInfo, EngineState
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.output_check import check_output
from engine.client.remote_health import ask_server
from engine.client.remote_model import RemoteModel, identity_of
from engine.client.retry import Backoff
from engine.client.tokenizer_check import check_tokenizer
from engine.errors import (
    ConfigurationError,
    EngineBusyError,
    EngineLostError,
    EngineReplacedError,
    StarcoderError,
)

CHECK_S = 5.0
"""Seconds between two questions to a server that is ready."""
_LOADING_S = 1.0
"""Seconds between two questions to a server that is loading its model."""
_LEAST_S = 1.0
"""Least seconds between two questions to a server that fails."""
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


class RemoteWatch:
    """Asks a server for its state, and learns from what happens to requests."""

    def __init__(self, endpoint: Endpoint, choice: RemoteModel) -> None:
        self.endpoint = endpoint
        self._choice = choice
        self._http: HttpEngine | None = None
        self._error: StarcoderError | None = None
        self._identity = ""
        self.generation = 0
        """See `Report.generation`."""
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
        self.is_closed = False
        self.report = Report()

    @property
    def http(self) -> HttpEngine:
        """The client. It is created late: an unusable certificate file is then reported."""
        if self._http is None:
            self._http = HttpEngine(self.endpoint, self._choice)
        return self._http

    async def refresh(self) -> None:
        """Ask the server if its state may have changed."""
        with suppress(EngineReplacedError):  # closed meanwhile
            if self._now() >= self._due:
                await self._check()

    async def reports(self) -> AsyncGenerator[Report, None]:
        """Watch the server: yield its state now and whenever it changes, until `aclose`."""
        seen: Report | None = None
        while not self.is_closed:
            await self.refresh()
            if self.report != seen:
                seen = self.report
                yield seen
                continue
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(0.0, self._due - self._now()))

    async def ready(self) -> EngineInfo:
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

    async def aclose(self) -> None:
        """Close the connections and end `reports`."""
        self.is_closed = True
        self._changed.set()
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait({self._checking})
        if self._http is not None:
            await self._http.aclose()

    # What requests say about the server.

    def note_request(self) -> None:
        """Note that a request was sent."""
        self._silent_since = self._silent_since or self._now()

    def note_output(self) -> None:
        """Note that a request has output."""
        self._silent_since = None

    def note_end(self) -> None:
        """Note that a request ended as it should."""
        self._doubts_output = False
        self._backoff.reset()

    def note_silence(self) -> None:
        """Let the server be asked soon if it has not answered for too long."""
        if self._silent_since and self._now() - self._silent_since >= _SILENT_S:
            self._is_silent = True
            self._due = min(self._due, self._now())
            self._changed.set()

    async def note_failure(self, error: StarcoderError) -> StarcoderError:
        """Find out what a failed request means; return the error for its caller."""
        is_first, self._doubts_output = not self._doubts_output, True
        may_be_new = is_first and isinstance(error, EngineLostError | ConfigurationError)
        if may_be_new or isinstance(error, EngineReplacedError):
            # It may have been restarted, perhaps with another model, or a connection was cut.
            generation = self.generation
            await self._check()
            if self.report.state is EngineState.READY:
                return error if self.generation == generation else self.replaced()
            return self._error or error
        self._fail(error)
        return error

    def replaced(self) -> EngineReplacedError:
        """Return the error for a caller that knows the tokenizer of another model."""
        info = self.report.info
        return EngineReplacedError(
            f"The engine now has the model {'' if info is None else info.model}. Ask again to use "
            "it."
        )

    # Questions to the server.

    async def _check(self) -> None:
        """Ask the server now. All callers at one time share the question, and none cancels it."""
        if not self.is_closed and (self._checking is None or self._checking.done()):
            self._checking = asyncio.create_task(self._check_now())
        if self._checking is not None:
            await asyncio.wait({self._checking})
        if self.is_closed or self._checking is None:
            raise EngineReplacedError("Another engine was chosen meanwhile. Ask again to use it.")
        self._checking.result()  # an unexpected error

    async def _check_now(self) -> None:
        try:
            http = self.http
            answer = await ask_server(http.connection.client, self.endpoint.url, self._choice)
            if answer.entry is None:
                self._due = self._now() + _LOADING_S
                self._set(
                    Report(answer.state, answer.detail, answer.progress, None, self.generation)
                )
                return
            info = await self._adopt(http, answer.entry)
            if self._doubts_output or self._is_silent:
                await check_output(http)
                self._is_silent, self._silent_since = False, None
        except StarcoderError as error:
            self._fail(error)
            return
        if not self._doubts_output:
            self._backoff.reset()
        self._due = self._now() + CHECK_S * random.uniform(0.8, 1.2)
        self._set(Report(EngineState.READY, info=info, generation=self.generation, note=http.note))

    async def _adopt(self, http: HttpEngine, entry: Mapping[str, Any]) -> EngineInfo:
        """Return the model that the server has, and forget what is known of another."""
        identity = identity_of(entry)
        is_new = identity != self._identity
        if is_new:
            # No request may be sent to it with the token ids of another.
            self.generation += 1
            self._set(Report(detail="reading the tokenizer", generation=self.generation))
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
        self._set(Report(EngineState.FAILED, error.user_message, generation=self.generation))

    def _set(self, report: Report) -> None:
        self.report = report
        self._changed.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

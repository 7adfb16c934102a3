"""An engine at a URL, which may fail at any time and may get another model.

`engine.client.remote_watch` knows the state of its server. While the server fails, requests fail
immediately with its last error. It is asked again after delays that grow (`engine.client.retry`); a
request that a user makes on purpose may ask it earlier, but never more often than once a second,
and never before the time that the server itself named.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from engine.api import Chunk, EngineInfo, EngineState, GenerationRequest, Health
from engine.client.endpoint import Endpoint
from engine.client.remote_model import RemoteModel
from engine.client.remote_watch import RemoteWatch, Report
from engine.errors import RequestError, StarcoderError
from engine.tokenizer import Tokenizer


class RemoteEngine:
    """Implements `engine.api.Engine` for a server at a URL."""

    def __init__(self, endpoint: Endpoint, model: RemoteModel | None = None) -> None:
        self._watch = RemoteWatch(endpoint, model or RemoteModel())
        self._known_generation = 0
        """The model that callers know, and whose token ids they send."""

    @property
    def report(self) -> Report:
        """The last known state of the server."""
        return self._watch.report

    def reports(self) -> AsyncGenerator[Report, None]:
        """Watch the server: yield its state now and whenever it changes, until `aclose`."""
        return self._watch.reports()

    async def health(self) -> Health:
        """See `Engine.health`. The server is asked only if its state may have changed."""
        await self._watch.refresh()
        if self._watch.is_closed:
            return Health(EngineState.FAILED, "The connection to the engine is closed.")
        report = self.report
        pid = None if report.info is None else report.info.pid
        return Health(report.state, report.detail, report.progress, pid)

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        info = await self._watch.ready()
        self._known_generation = self._watch.generation
        return info

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`. Raises ConfigurationError if the server does not serve one."""
        await self._watch.ready()
        self._known_generation = self._watch.generation
        return await self._watch.http.tokenizer(adapter)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`.

        Raises EngineReplacedError if the server has another model than the one whose tokenizer the
        caller knows.
        """
        watch = self._watch
        await watch.ready()
        if self._known_generation not in (0, watch.generation):
            self._known_generation = watch.generation
            raise watch.replaced()
        has_output = False
        watch.note_request()
        try:
            async with aclosing(watch.http.stream(request)) as chunks:
                async for chunk in chunks:
                    has_output = True
                    watch.note_output()
                    yield chunk
        except (GeneratorExit, asyncio.CancelledError):  # the caller has enough, or gives up
            if has_output:
                watch.note_end()
            else:
                watch.note_silence()
            raise
        except RequestError:
            raise  # the server works, and refuses this request
        except StarcoderError as error:
            failure = await watch.note_failure(error)
            raise failure from None
        watch.note_end()

    async def aclose(self) -> None:
        """Close the connections and end `reports`."""
        await self._watch.aclose()

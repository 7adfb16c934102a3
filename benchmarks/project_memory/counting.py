"""An engine that counts what its requests cost."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from engine.api import Chunk, EngineInfo, GenerationRequest, Health
from engine.local import LocalEngine
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Cost:
    """What some requests cost together."""

    steps: int
    """Forward passes of the engine, including those of the prefill."""
    tokens: int
    """Generated tokens that arrived."""
    drafted: int
    accepted: int
    """Draft tokens that the model chose, of the requests that were not closed before their end."""


class CountingEngine:
    """Passes requests on to an engine in this process, and counts."""

    def __init__(self, engine: LocalEngine) -> None:
        """Count the requests to an engine."""
        self._engine = engine
        self._tokens = self._drafted = self._accepted = 0

    @property
    def total(self) -> Cost:
        """The cost of all requests so far."""
        steps = self._engine.metrics().steps
        return Cost(steps, self._tokens, self._drafted, self._accepted)

    async def health(self) -> Health:
        """See `Engine.health`."""
        return await self._engine.health()

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return await self._engine.info()

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`."""
        return await self._engine.tokenizer(adapter)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`."""
        chunks = self._engine.stream(request)
        try:
            async for chunk in chunks:
                self._tokens += len(chunk.ids)
                if chunk.usage is not None:
                    self._drafted += chunk.usage.drafted_tokens
                    self._accepted += chunk.usage.accepted_tokens
                yield chunk
        finally:
            await chunks.aclose()

    async def aclose(self) -> None:
        """See `Engine.aclose`."""
        await self._engine.aclose()


def difference(before: Cost, after: Cost) -> Cost:
    """Return the cost between two moments."""
    return Cost(
        after.steps - before.steps,
        after.tokens - before.tokens,
        after.drafted - before.drafted,
        after.accepted - before.accepted,
    )

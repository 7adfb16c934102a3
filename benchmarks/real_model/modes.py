"""The ways in which the engine generates for the same prompts: all give the same output."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from benchmarks.stepped_scheduler import SteppedScheduler, ids_of
from engine.api import Chunk, GenerationRequest
from engine.decoding.draft_length import DraftLengths
from engine.local import LocalEngine
from engine.network.model import LoadedModel
from engine.settings import EngineSettings

_BATCH = 8
"""Requests that run together."""
_DRAFT_TOKENS = 6
"""Draft tokens per step, whatever a pass costs."""
_WRONG_EVERY = 10
"""Every tenth draft token is wrong."""

Ids = list[int]


class _FixedDrafts(DraftLengths):
    """Draft lengths that do not depend on costs."""

    def __init__(self, model: LoadedModel, length: int) -> None:
        super().__init__(model.costs)
        self._length = length

    def best(
        self, acceptance_rate: float, max_tokens: int, other_rows: int, token_ms: float = 0.0
    ) -> tuple[int, float]:
        """Return the length, and that it promises something if it is not 0."""
        length = min(self._length, max_tokens)
        return length, float(length)


class Modes:
    """Generates for prompts with one loaded model, and counts what was reused and drafted."""

    def __init__(self, model: LoadedModel, new: int) -> None:
        self._model, self._new = model, new
        self.counts: Counter[str] = Counter()

    def alone(self, prompts: Sequence[Ids]) -> list[Ids]:
        """Generate for one prompt after another, with nothing to reuse and no draft tokens."""
        scheduler, outputs = self._scheduler(0), []
        for ids in prompts:
            scheduler.clear()
            outputs.append(self._run(scheduler, self._request(ids)))
        return outputs

    def with_reuse(self, prompts: Sequence[Ids]) -> list[Ids]:
        """Generate for the first two thirds of a prompt, and then for all of it."""
        scheduler, outputs = self._scheduler(0), []
        for ids in prompts:
            scheduler.clear()
            self._run(scheduler, self._request(ids[: max(1, 2 * len(ids) // 3)]))
            outputs.append(self._run(scheduler, self._request(ids)))
        return outputs

    def in_batches(self, prompts: Sequence[Ids]) -> list[Ids]:
        """Generate for several prompts in the same steps."""
        scheduler, outputs = self._scheduler(0), []
        for start in range(0, len(prompts), _BATCH):
            scheduler.clear()
            batch = [
                scheduler.submit(self._request(ids)) for ids in prompts[start : start + _BATCH]
            ]
            scheduler.finish()
            for submission in batch:
                assert not submission.errors, submission.errors
                self._count(submission.chunks)
                outputs.append(submission.ids)
        return outputs

    def with_drafts(self, prompts: Sequence[Ids], expected: Sequence[Ids]) -> list[Ids]:
        """Generate with the expected output as draft tokens, of which some are wrong."""
        scheduler, outputs = self._scheduler(_DRAFT_TOKENS), []
        for ids, output in zip(prompts, expected, strict=True):
            scheduler.clear()
            draft = [
                (id_ + 1) % self._model.vocab_size if number % _WRONG_EVERY == 4 else id_
                for number, id_ in enumerate(output)
            ]
            outputs.append(self._run(scheduler, self._request(ids, draft)))
        return outputs

    def _scheduler(self, draft_length: int) -> SteppedScheduler:
        return SteppedScheduler(self._model, draft_lengths=_FixedDrafts(self._model, draft_length))

    def _request(self, prompt: Ids, draft: Sequence[int] = ()) -> GenerationRequest:
        return GenerationRequest(tuple(prompt), self._new, draft_tokens=tuple(draft))

    def _run(self, scheduler: SteppedScheduler, request: GenerationRequest) -> Ids:
        chunks = scheduler.run(request)
        self._count(chunks)
        return ids_of(chunks)

    def _count(self, chunks: Sequence[Chunk]) -> None:
        usage = chunks[-1].usage
        assert usage is not None
        self.counts += Counter(
            tokens=usage.completion_tokens,
            reused=usage.reused_tokens,
            drafted=usage.drafted_tokens,
            accepted=usage.accepted_tokens,
        )


async def through_engine(settings: EngineSettings, prompts: Sequence[Ids], new: int) -> list[Ids]:
    """Generate as the product does: concurrent requests, the prefix cache and prompt lookup."""
    engine = LocalEngine(settings)

    async def generate(ids: Ids) -> Ids:
        output: Ids = []
        async with aclosing(engine.stream(GenerationRequest(tuple(ids), new))) as chunks:
            async for chunk in chunks:
                output += chunk.ids
        return output

    try:
        outputs: list[Ids] = []
        for start in range(0, len(prompts), _BATCH):
            batch = prompts[start : start + _BATCH]
            outputs += await asyncio.gather(*(generate(ids) for ids in batch))
        return outputs
    finally:
        await engine.aclose()

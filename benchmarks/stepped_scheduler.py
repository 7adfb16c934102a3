"""The real scheduler, driven step by step by a test or benchmark instead of the engine's thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from engine.api import Chunk, EngineMetrics, GenerationRequest, TokenLogprob
from engine.decoding.draft_length import DraftLengths
from engine.decoding.draft_model import DraftModel
from engine.decoding.generation import DecodingContext
from engine.errors import RequestError
from engine.kv_cache.cache import KVCache
from engine.kv_cache.pool import CachePool
from engine.network.forward import Forward
from engine.network.lean_forward import LeanForward
from engine.network.lora import Adapter
from engine.network.model import LoadedModel
from engine.scheduling.job import EndOfStream, Job, JobEvent, Scores, ScoringRequest
from engine.scheduling.scheduler import Scheduler


@dataclass
class Submission:
    """A request that was submitted to a scheduler, and its events so far."""

    request: GenerationRequest
    job: Job
    events: list[JobEvent] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the job has emitted its last event."""
        return bool(self.events) and isinstance(self.events[-1], EndOfStream)

    @property
    def chunks(self) -> list[Chunk]:
        """Chunks of the output so far."""
        return [event for event in self.events if isinstance(event, Chunk)]

    @property
    def ids(self) -> list[int]:
        """Token ids of the output so far."""
        return ids_of(self.chunks)

    @property
    def errors(self) -> list[Exception]:
        """Exceptions that the job has emitted."""
        return [event for event in self.events if isinstance(event, Exception)]


def no_adapters(name: str) -> Adapter:
    """Raise RequestError: there are no adapters."""
    raise RequestError(f"There is no adapter {name!r}.")


class SteppedScheduler:
    """A scheduler whose steps the caller takes by hand."""

    def __init__(
        self,
        model: LoadedModel,
        draft_model: DraftModel | None = None,
        adapter_of: Callable[[str], Adapter] = no_adapters,
        pool: CachePool | None = None,
        draft_lengths: DraftLengths | None = None,
    ) -> None:
        """Create a scheduler; `draft_lengths` replaces the choice of the number of draft tokens."""
        context = DecodingContext.of(model)
        self.context = replace(
            context,
            draft_model=draft_model,
            draft_lengths=draft_lengths or context.draft_lengths,
        )
        self.metrics = EngineMetrics()
        self.scheduler = Scheduler(self.context, adapter_of, self.metrics, pool)
        self.submissions: list[Submission] = []
        self._unfinished: list[Submission] = []

    def submit(
        self, request: GenerationRequest, emit: Callable[[JobEvent], None] | None = None
    ) -> Submission:
        """Submit a request; `emit` takes the place of the submission's list of events."""
        events: list[JobEvent] = []
        job = Job(request, emit or events.append, len(self.submissions))
        submission = Submission(request, job, events)
        self.submissions.append(submission)
        self._unfinished.append(submission)
        self.scheduler.submit(job)
        return submission

    @property
    def is_busy(self) -> bool:
        """Whether a submission is not done."""
        return not all(submission.done for submission in self._unfinished)

    def step(self) -> None:
        """Run one step if there is work."""
        self._unfinished = [s for s in self._unfinished if not s.done]
        if self._unfinished:
            with torch.inference_mode():
                self.scheduler.step()

    def finish(self, max_steps: int = 3000) -> None:
        """Run steps until all submissions are done."""
        for _ in range(max_steps):
            if not self.is_busy:
                return
            self.step()
        raise AssertionError("the requests never end")

    def clear(self) -> None:
        """End all requests, and drop the prefix cache."""
        self.scheduler.drain()
        self.scheduler.pool.drop_idle()
        self.submissions.clear()
        self._unfinished.clear()

    def run(self, request: GenerationRequest) -> list[Chunk]:
        """Run one request to its end; raise its exception."""
        submission = self.submit(request)
        self.finish()
        for error in submission.errors:
            raise error
        return submission.chunks

    def score(self, ids: tuple[int, ...], num_top: int) -> list[TokenLogprob | None]:
        """Score a text; see `engine.api.ScoringEngine.score`."""
        events: list[JobEvent] = []
        self.scheduler.submit(Job(ScoringRequest(ids, num_top), events.append, 0))
        while not events or not isinstance(events[-1], EndOfStream):
            with torch.inference_mode():
                self.scheduler.step()
        for event in events:
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Scores):
                return list(event.logprobs)
        raise AssertionError("there are no scores")


def run_alone(model: LoadedModel, request: GenerationRequest) -> list[Chunk]:
    """Run one request without any other, with an empty prefix cache."""
    scheduler = SteppedScheduler(model)
    try:
        return scheduler.run(request)
    finally:
        scheduler.clear()  # on a GPU its caches are slots of the model's arena


def score_alone(
    model: LoadedModel, ids: tuple[int, ...], num_top: int = 0
) -> list[TokenLogprob | None]:
    """Score a text without any other request, with an empty prefix cache."""
    scheduler = SteppedScheduler(model)
    try:
        return scheduler.score(ids, num_top)
    finally:
        scheduler.clear()


def ids_of(chunks: list[Chunk]) -> list[int]:
    """Return the token ids of an output."""
    return [id_ for chunk in chunks for id_ in chunk.ids]


def text_of(chunks: list[Chunk]) -> str:
    """Return the text of an output."""
    return "".join(chunk.text for chunk in chunks)


@torch.inference_mode()
def finish_preparing(forward: Forward) -> None:
    """Wait for the compiled kernels, and record all CUDA graphs in the calling thread."""
    if isinstance(forward, LeanForward):
        forward.backend.wait()
    while forward.prepare():
        pass


def new_cache(model: LoadedModel) -> KVCache:
    """Return an empty KV cache of the kind that the engine uses for the model."""
    return KVCache(model.cache_shape, slot=model.arena.take() if model.arena else None)

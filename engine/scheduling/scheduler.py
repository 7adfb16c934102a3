"""The step loop: each step computes the next tokens of all running sequences in one forward pass.

A pass over the next tokens of several sequences reads the weights once for all of them (continuous
batching; Yu et al. 2022, Orca). Sequences start and end between steps. Each has its own KV cache
from the pool, so its output never depends on the other sequences.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.api import EngineMetrics, Priority
from engine.decoding.generation import DecodingContext, check_request, generate
from engine.decoding.logits_reader import LogitsRequest, TokenChoices, read_logits
from engine.decoding.scoring import score
from engine.decoding.sequence import Steps, TokenSequence
from engine.errors import OutOfMemoryError, StarcoderError
from engine.kv_cache.cache import BLOCK, KVCache
from engine.kv_cache.pool import CachePool, default_limit
from engine.machine import is_out_of_memory
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.lora import Adapter
from engine.scheduling.chunk_batching import ChunkBatcher
from engine.scheduling.fairness import RecentService
from engine.scheduling.job import EndOfStream, Job, Scores, ScoringRequest
from engine.scheduling.policy import (
    ChatTurns,
    HeavyTurns,
    RunningSequence,
    max_step_tokens,
    select_next_step,
)
from engine.scheduling.waiting_jobs import WaitingJobs
from engine.settings import KV_CACHES

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Running:
    """A job with its running sequence."""

    job: Job
    sequence: TokenSequence

    def facts(self, now: float, service_ms: float, *, is_heavy: bool) -> RunningSequence:
        """Return the facts for the schedule."""
        job = self.job
        return RunningSequence(
            job.priority,
            job.number,
            now - job.arrived,
            self.sequence.num_left,
            job.user,
            service_ms,
            is_heavy,
        )

    def record_start_of_step(self, num_rows: int) -> None:
        """Count the prompt tokens of a step that begins: its client may hang up meanwhile."""
        progress = self.job.request.progress
        if progress is not None and progress.rows < progress.prompt_length:
            progress.rows = min(progress.rows + num_rows, progress.prompt_length)

    def record_progress(self) -> None:
        """Write the number of rows so far to the request's progress."""
        if (progress := self.job.request.progress) is not None:
            progress.rows = len(self.sequence.cache.ids)


class Scheduler:
    """Takes jobs and computes them step by step."""

    def __init__(
        self,
        context: DecodingContext,
        adapter_of: Callable[[str], Adapter],
        metrics: EngineMetrics,
        pool: CachePool | None = None,
        max_windows: int = KV_CACHES,
    ) -> None:
        """Create a scheduler for one model.

        `adapter_of` returns a LoRA adapter by name and raises RequestError if there is none.
        `metrics` is updated with each step. `pool` is the prefix cache; by default it has the size
        that suits this machine, and at most `max_windows` context windows.
        """
        self._context, self._model = context, context.model
        self._adapter_of, self._metrics = adapter_of, metrics
        self._costs = self._model.costs
        shape, arena = self._model.cache_shape, self._model.arena
        if pool is None:
            limit = default_limit(shape, max_windows=max_windows, reserved=self._model.reserved)
            pool = CachePool(shape, arena.bytes if arena else limit, arena)
        self.pool = pool
        """The prefix cache."""
        self._waiting = WaitingJobs(on_cpu=shape.devices[0].type == "cpu")
        self._running: list[_Running] = []
        self._chat_turns, self._heavy_turns = ChatTurns(), HeavyTurns()
        self._service = RecentService()
        self._other_rows = 0
        """Number of rows that the current step computes for all sequences but one."""

    def submit(self, job: Job) -> None:
        """Add a job. Any thread may call this."""
        self._waiting.submit(job)

    def wake(self) -> None:
        """Make a blocked `step` return. Any thread may call this."""
        self._waiting.wake()

    @torch.inference_mode()
    def run(self, closing: threading.Event) -> None:
        """Compute until `closing` is set, then end all jobs; call `wake` after setting it."""
        while not closing.is_set():
            self.step()
        self.drain()
        self.pool.drop_idle()

    def step(self) -> None:
        """Admit new jobs, drop cancelled ones, and run one step. Blocks while idle."""
        self._waiting.admit(is_idle=not self._running, prepare=self._prepare)
        self._drop_cancelled()
        self._start_waiting()
        self._compute_step()
        self._report_use()

    def _report_use(self) -> None:
        self._metrics.requests_running = len(self._running)
        self._metrics.requests_waiting = len(self._waiting)
        self._metrics.caches_in_use = self.pool.num_in_use

    def drain(self) -> None:
        """End all running sequences and drop all other jobs; each job gets its last event."""
        for running in list(self._running):
            self._end(running)
        self._waiting.drop(cancelled_only=False)

    # Jobs that come and go.

    def _prepare(self) -> bool:
        """Do one piece of work that makes later steps faster; return whether more is left."""
        draft_model = self._context.draft_model
        return self._model.forward.prepare() or (
            draft_model is not None and draft_model.model.forward.prepare()
        )

    def _drop_cancelled(self) -> None:
        for running in [each for each in self._running if each.job.cancelled.is_set()]:
            self._end(running)
        self._waiting.drop(cancelled_only=True)

    def _start_waiting(self) -> None:
        """Start waiting jobs while the limits and the memory allow it."""
        while len(self._waiting):
            running = [each.job.work for each in self._running]
            # One sequence runs in any case.
            num_free = self.pool.num_free if running else max(1, self.pool.num_free)
            job = self._waiting.take_next(running, self._service, num_free)
            if job is None:
                return
            self._start(job)

    def _start(self, job: Job) -> None:
        cache = None
        try:
            adapter = None if job.adapter is None else self._adapter_of(job.adapter)
            if isinstance(job.request, ScoringRequest):
                self._model.check_prompt(job.request.prompt)
            else:
                check_request(self._model, job.request, adapter)
            cache = self._take_cache(job, adapter)
            num_reused = len(cache.ids)
            sequence = TokenSequence(self._steps_of(job, cache), cache, adapter)
        except Exception as error:
            if cache is not None:
                self.pool.give_back(cache)
            job.emit(_to_user_error(error))
            job.emit(EndOfStream())
            return
        self._running.append(_Running(job, sequence))
        if (progress := job.request.progress) is not None:
            progress.started = time.monotonic()
            progress.reused_rows = progress.rows = num_reused
        self._metrics.requests += 1
        self._metrics.reused_tokens += num_reused
        self._metrics.cache_bytes = self.pool.bytes

    def _steps_of(self, job: Job, cache: KVCache) -> Steps:
        """Return the steps of a job, which emit its results."""
        request = job.request
        if isinstance(request, ScoringRequest):
            return score(
                request.prompt, request.num_top, lambda logprobs: job.emit(Scores(logprobs))
            )
        is_chat = job.priority is Priority.CHAT
        emit = ChunkBatcher(job.emit, is_first_urgent=is_chat)
        return generate(self._context, request, cache, emit, lambda: self._other_rows)

    def _take_cache(self, job: Job, adapter: Adapter | None) -> KVCache:
        owner = None if adapter is None else adapter.owner
        prompt = job.request.prompt
        rows = min(self._model.context_window, len(prompt) + min(job.max_new_tokens, BLOCK))
        if not job.reuse_cache:
            prompt = prompt[:1]
        try:
            return self.pool.take(prompt, owner, rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._free_memory()
            return self.pool.take(prompt, owner, rows)

    def _end(self, running: _Running) -> None:
        self._running.remove(running)
        running.sequence.close()
        running.record_progress()
        self.pool.give_back(running.sequence.cache)
        running.job.emit(EndOfStream())

    # One step.

    def _compute_step(self) -> None:
        running = list(self._running)
        if not running:
            return
        now = time.monotonic()
        heavy = self._service.heavy()
        recent = {
            work: self._service.milliseconds(work) for work in {each.job.work for each in running}
        }
        facts = [
            each.facts(now, recent[each.job.work], is_heavy=each.job.work in heavy)
            for each in running
        ]
        self._other_rows = max(0, sum(sequence.is_decoding for sequence in facts) - 1)
        max_tokens = max_step_tokens(facts, self._costs)
        plan = select_next_step(
            facts,
            max_tokens,
            self._costs,
            is_chat_turn=self._chat_turns.is_turn(facts, self._costs),
            heavy=self._heavy_turns.next_turn(facts, max_tokens, self._costs),
        )
        self._heavy_turns.record(facts, plan)
        if plan.decode_batch:
            self._compute([running[index] for index in plan.decode_batch], DECODE_ROWS)
        if plan.prefill_chunk is not None:
            chunk = plan.prefill_chunk
            self._compute([running[chunk.index]], chunk.num_tokens)

    def _compute(self, batch: Sequence[_Running], max_rows: int) -> None:
        """Compute up to `max_rows` next tokens of each sequence in one forward pass.

        If the pass fails, each sequence is computed alone, so that only the failing ones end.
        """
        parts = [running.sequence.next_entry(max_rows) for running in batch]
        entries = [entry for entry, _ in parts]
        for running, entry in zip(batch, entries, strict=True):
            running.record_start_of_step(len(entry.ids))
        started, draft_ms = time.perf_counter(), self._draft_ms()
        try:
            choices = self._forward(entries, [request for _, request in parts])
        except Exception as error:
            self._recover(batch, max_rows, error)
            return
        for running, entry, sequence_choices in zip(batch, entries, choices, strict=True):
            self._advance(running, entry, sequence_choices)
        # Measured after reading the logits, because a GPU computes asynchronously until then. The
        # time that the draft model took in between is not a cost of this model.
        elapsed_ms = (time.perf_counter() - started) * 1000 - (self._draft_ms() - draft_ms)
        num_rows = sum(len(entry.ids) for entry in entries)
        self._costs.record(num_rows, elapsed_ms)
        for running, entry in zip(batch, entries, strict=True):
            self._service.add(running.job.work, elapsed_ms * len(entry.ids) / num_rows)
        self._metrics.steps += 1
        self._metrics.computed_tokens += num_rows

    def _draft_ms(self) -> float:
        """Return the milliseconds that the draft model has taken so far."""
        return 0.0 if self._context.draft_model is None else self._context.draft_model.total_ms

    def _forward(
        self, entries: Sequence[BatchEntry], requests: Sequence[LogitsRequest | None]
    ) -> list[TokenChoices]:
        for entry in entries:
            self.pool.reserve(entry.cache, entry.end)
        logits = self._model.forward(entries)
        if logits[0].is_cuda and not any(entry.num_logits for entry in entries):
            # Nothing is read, so without this the time would count for the next step.
            torch.cuda.synchronize()
        return read_logits(logits, requests)

    def _recover(self, batch: Sequence[_Running], max_rows: int, error: Exception) -> None:
        """Retry a failed batch one by one, or after freeing memory; else end the sequence."""
        if len(batch) > 1:
            for running in batch:
                self._compute([running], max_rows)
        elif is_out_of_memory(error) and self.pool.idle:
            self._free_memory()
            self._compute(batch, max_rows)
        else:
            self._fail(batch[0], error)

    def _advance(self, running: _Running, entry: BatchEntry, choices: TokenChoices) -> None:
        try:
            running.sequence.advance(entry, choices)
        except Exception as error:
            self._fail(running, error)
            return
        if running.sequence.num_left == 0:
            self._end(running)
        else:
            running.record_progress()

    def _fail(self, running: _Running, error: Exception) -> None:
        running.job.emit(_to_user_error(error))
        self._end(running)

    def _free_memory(self) -> None:
        self.pool.drop_idle()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _to_user_error(error: Exception) -> StarcoderError:
    """Return the error that the caller gets."""
    if isinstance(error, StarcoderError):
        return error
    if is_out_of_memory(error):
        return OutOfMemoryError(
            "Memory ran out while decoding. Set contextWindow lower, or choose a smaller model."
        )
    log.error("decoding failed", exc_info=error)
    return StarcoderError(f"The engine failed: {type(error).__name__}. See its log.")

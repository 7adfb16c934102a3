"""The step loop: every step computes the next ids of all answers under way, in one pass.

A pass over the next ids of several answers reads the weights once for all of them (continuous
batching; Yu et al. 2022, Orca). Answers come and go between steps. Each has a KV cache of its own
out of the pool, so what one computes never depends on who else is there.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.api import EngineMetrics, Priority
from engine.decoding.logits_reader import Reading, read
from engine.decoding.sequence import Part, TokenSequence
from engine.errors import OutOfMemoryError, StarcoderError
from engine.kv_cache.cache import BLOCK, KVCache
from engine.kv_cache.pool import CachePool, default_limit
from engine.loading.load import Loaded
from engine.network.lora import Adapter
from engine.scheduling.job import DONE, Job
from engine.scheduling.policy import LEAST_PORTION, SHORT, Waiting, plan

log = logging.getLogger(__name__)

_MOST_AT_ONCE = {Priority.COMPLETION: 16, Priority.CHAT: 4, Priority.PREFETCH: 2}
"""Answers under way; who comes later waits for one of them to end."""

_STEP_MS_ALONE, _STEP_MS_SHARED = 250.0, 25.0
"""How long a portion of a prefill may take: cancelling and newcomers wait for its end, and with
others under way each of their ids does. What nobody waits for yet makes nobody wait: it counts as
shared."""

_STEPS_SHARED = 2.0
"""Or so many times a step of one id, where that is more: in smaller portions a prefill would read
the weights too often."""

_LARGEST_PORTION = 512

_CHATS_EVERY = 4
"""Steps with completions after which chats take part in one."""

_CHEAP = 1.1
"""Chats take part in every step if it takes at most this much longer."""


@dataclass(eq=False)
class _Answer:
    """A job under way."""

    job: Job
    sequence: TokenSequence


class Scheduler:
    """Takes jobs, and computes them step by step."""

    def __init__(
        self,
        loaded: Loaded,
        jobs: queue.SimpleQueue[Job | None],
        closing: threading.Event,
        metrics: EngineMetrics,
    ) -> None:
        """`metrics` is kept up to date."""
        self._decoder, self._adapters = loaded.decoder, loaded.adapters
        self._costs = loaded.decoder.costs
        self._jobs, self._closing, self._metrics = jobs, closing, metrics
        shape, arena = loaded.cache_shape, loaded.arena
        self._pool = CachePool(shape, arena.bytes if arena else default_limit(shape), arena)
        self._waiting: list[Job] = []
        self._under_way: list[_Answer] = []
        self._steps_without_chats = 0

    @torch.inference_mode()
    def run(self) -> None:
        """Compute until closing; a job of None wakes it up for that."""
        while not self._closing.is_set():
            self.turn()

    def turn(self) -> None:
        """Let come and go who does, and compute one step; waits when there is nothing to do."""
        self._collect()
        self._drop_cancelled()
        self._begin_waiting()
        self._step()

    # Coming and going.

    def _collect(self) -> None:
        """Take new jobs; prepares or waits when there is nothing to do."""
        idle = not self._under_way and not self._waiting
        while idle and self._jobs.empty() and self._decoder.prepare():
            pass
        while idle or not self._jobs.empty():
            job = self._jobs.get()
            if job is None:
                return
            self._waiting.append(job)
            idle = False

    def _drop_cancelled(self) -> None:
        for answer in [one for one in self._under_way if one.job.cancelled.is_set()]:
            self._end(answer)
        for job in [job for job in self._waiting if job.cancelled.is_set()]:
            self._waiting.remove(job)
            job.give(DONE)

    def _begin_waiting(self) -> None:
        """Begin what waits, as far as there is room."""
        if not self._waiting:
            return
        # Completions before chats, the newest first; chats in their order.
        self._waiting.sort(key=lambda job: (job.priority, job.number * (1 if job.priority else -1)))
        for job in list(self._waiting):
            there = sum(answer.job.priority == job.priority for answer in self._under_way)
            crowded = self._under_way and not self._pool.has_room()
            if there < _MOST_AT_ONCE[job.priority] and not crowded:
                self._waiting.remove(job)
                self._begin(job)

    def _begin(self, job: Job) -> None:
        cache = None
        try:
            adapter = None if job.adapter is None else self._adapters.get(job.adapter)
            self._decoder.check(job.prompt, adapter)
            cache = self._cache(job, adapter)
            known = len(cache.ids)
            sequence = TokenSequence(job.work(self._decoder, cache, job.give), cache)
            self._under_way.append(_Answer(job, sequence))
            self._metrics.answers += 1
            self._metrics.reused_ids += known
            self._metrics.cache_bytes = self._pool.bytes
        except Exception as error:
            if cache is not None:
                self._pool.give_back(cache)
            job.give(_told(error))
            job.give(DONE)

    def _cache(self, job: Job, adapter: Adapter | None) -> KVCache:
        prompt = job.prompt if job.reuses else job.prompt[:1]
        rows = min(self._decoder.context_window, len(job.prompt) + min(job.room, BLOCK))
        try:
            return self._pool.take(prompt, adapter, rows)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            self._free_memory()
            return self._pool.take(prompt, adapter, rows)

    def _end(self, answer: _Answer) -> None:
        self._under_way.remove(answer)
        answer.sequence.close()
        self._pool.give_back(answer.sequence.cache)
        answer.job.give(DONE)

    # One step.

    def _step(self) -> None:
        under_way = list(self._under_way)
        if not under_way:
            return
        now = time.monotonic()
        waiting = [
            Waiting(one.job.priority, one.job.number, now - one.job.arrived, one.sequence.left)
            for one in under_way
        ]
        self._costs.others = max(0, sum(one.left <= SHORT for one in waiting) - 1)
        made = plan(waiting, self._budget(waiting), chats_turn=self._chats_turn(waiting))
        if made.together:
            self._compute([under_way[at] for at in made.together], SHORT)
        if made.portion is not None:
            at, ids = made.portion
            self._compute([under_way[at]], ids)

    def _budget(self, waiting: Sequence[Waiting]) -> int:
        """Return how many ids a step may have."""
        if all(one.left <= SHORT for one in waiting):
            return SHORT
        milliseconds = _STEP_MS_ALONE
        if len(waiting) > 1 or waiting[0].priority is Priority.PREFETCH:
            milliseconds = max(_STEP_MS_SHARED, _STEPS_SHARED * self._costs.of(1))
        return self._costs.within(milliseconds, LEAST_PORTION, _LARGEST_PORTION)

    def _chats_turn(self, waiting: Sequence[Waiting]) -> bool:
        """Whether chats take part although there are completions."""
        short = [one for one in waiting if one.left <= SHORT]
        completions = sum(one.left for one in short if one.priority is Priority.COMPLETION)
        chats = sum(one.left for one in short if one.priority is Priority.CHAT)
        if chats and completions:
            together = self._costs.of(completions + chats)
            if together <= _CHEAP * self._costs.of(completions):
                return True
        self._steps_without_chats = (self._steps_without_chats + 1) % _CHATS_EVERY
        return self._steps_without_chats == 0

    def _compute(self, answers: Sequence[_Answer], most: int) -> None:
        """Compute the next ids, at most so many, of each answer; who fails, fails alone."""
        parts = [answer.sequence.part(most) for answer in answers]
        started = time.perf_counter()
        try:
            found = self._forward(parts)
        except Exception as error:
            if len(answers) > 1:
                for answer in answers:
                    self._compute([answer], most)
            elif _is_out_of_memory(error) and self._pool.idle:
                self._free_memory()
                self._compute(answers, most)
            else:
                self._fail(answers[0], error)
            return
        for answer, part, reading in zip(answers, parts, found, strict=True):
            self._take(answer, part, reading)
        # Reading is part of it: a GPU has not computed anything before that asks for it.
        elapsed = (time.perf_counter() - started) * 1000
        ids = sum(len(part.ids) for part in parts)
        self._costs.learn(ids, elapsed)
        self._metrics.steps += 1
        self._metrics.computed_ids += ids

    def _forward(self, parts: Sequence[Part]) -> list[Reading]:
        for part in parts:
            self._pool.reserve(part.cache, len(part.cache.ids) + len(part.ids))
        if len(parts) > 1:
            found = self._decoder.forward.batch(parts)
        else:
            ids = torch.tensor(parts[0].ids, dtype=torch.int64)
            found = [self._decoder.forward(ids, parts[0].cache, last=parts[0].last)]
        if found[0].is_cuda and not any(part.last for part in parts):
            torch.cuda.synchronize()  # nothing is read; its time would be taken for the next step's
        return read(found, [part.choice for part in parts])

    def _take(self, answer: _Answer, part: Part, reading: Reading) -> None:
        try:
            answer.sequence.take(part, reading)
        except Exception as error:
            self._fail(answer, error)
            return
        if answer.sequence.left == 0:
            self._end(answer)

    def _fail(self, answer: _Answer, error: Exception) -> None:
        answer.job.give(_told(error))
        self._end(answer)

    def _free_memory(self) -> None:
        self._pool.forget()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _told(error: Exception) -> StarcoderError:
    """Return what the caller is told."""
    if isinstance(error, StarcoderError):
        return error
    if _is_out_of_memory(error):
        return OutOfMemoryError(
            "Memory ran out while decoding. Set contextWindow lower, or choose a smaller model."
        )
    log.error("decoding failed", exc_info=error)
    return StarcoderError(f"The engine failed: {type(error).__name__}. See its log.")

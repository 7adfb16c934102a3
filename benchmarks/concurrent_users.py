"""Many who type at one engine, in the processor time of the engine's thread alone.

The same as `benchmarks.server_load`, without servers, sockets and editors, and without what else
the
machine does: arrivals follow a clock that only the thread's own work moves, and that jumps to the
next key when there is none. So the figures say what sharing the engine costs, and nothing else.
"""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, load_ours, machine
from engine.api import EngineMetrics, GenerationRequest, Priority
from engine.loading.load import Loaded
from engine.scheduling.job import DONE, Job
from engine.scheduling.scheduler import Scheduler
from fim.evaluation.files import source_files
from fim.evaluation.report import percentile
from fim.evaluation.typing_rhythm import MEDIAN_MS, SPREAD

_KEYS, _LOOK_S = (3, 9), (0.2, 0.8)
_NEW_TOKENS, _CHAT_PROMPT, _CHAT_TOKENS = 16, 300, 200
_WARM_UP_S = 3.0


class _Inline:
    """Stands in for an event loop: hands over at once."""

    def call_soon_threadsafe(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


@dataclass
class _Person:
    """Types a file, an id a key, and waits for the answer now and then."""

    ids: list[int]
    at: int
    next_key: float
    left: int
    job: Job | None = None
    asked: float = 0.0


@dataclass
class ConcurrentUsers:
    """So many people at one engine, for so many seconds of its clock."""

    model: Loaded
    texts: list[list[int]]
    people: int
    chat: bool
    now: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    """From the last key of a burst to the end of its answer."""

    def __post_init__(self) -> None:
        self._rng = random.Random(self.people)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._scheduler = Scheduler(self.model, self._jobs, threading.Event(), EngineMetrics())
        self._number = 0

    @torch.inference_mode()
    def run(self, seconds: float) -> None:
        """Let them type."""
        people = [self._person() for _ in range(self.people)]
        chat = self._ask(self._text()[:_CHAT_PROMPT], Priority.CHAT) if self.chat else None
        while self.now < seconds:
            for person in people:
                if person.next_key <= self.now:
                    self._press(person)
            if chat is not None and _over(chat):
                chat = self._ask(self._text()[:_CHAT_PROMPT], Priority.CHAT)
            if chat is None and all(one.job is None or _over(one.job) for one in people):
                self.now = max(self.now, min(one.next_key for one in people))
                continue
            started = time.thread_time()
            self._scheduler.turn()
            self.now += time.thread_time() - started
            for person in people:
                self._look(person)
        # On a GPU the next measurement's caches lie in the same arena.
        for answer in list(self._scheduler._under_way):
            self._scheduler._end(answer)
        self._scheduler._pool.forget()

    def _text(self) -> list[int]:
        return self._rng.choice(self.texts)

    def _person(self) -> _Person:
        ids = self._text()
        return _Person(ids, self._start(ids), self._rng.random(), self._rng.randint(*_KEYS))

    def _start(self, ids: list[int]) -> int:
        most = min(len(ids), self.model.decoder.context_window - _NEW_TOKENS - 100)
        return self._rng.randrange(most // 2, most)

    def _press(self, person: _Person) -> None:
        if person.job is not None:
            person.job.cancelled.set()
        person.at += 1
        if person.at >= min(len(person.ids), self.model.decoder.context_window - _NEW_TOKENS):
            person.ids = self._text()
            person.at = self._start(person.ids)
        person.job = self._ask(person.ids[: person.at], Priority.COMPLETION)
        person.asked = self.now
        person.left -= 1
        gap = self._rng.lognormvariate(0, SPREAD) * MEDIAN_MS / 1000
        person.next_key = self.now + gap if person.left else float("inf")

    def _look(self, person: _Person) -> None:
        if person.job is None or person.left or not _over(person.job):
            return
        if person.asked > _WARM_UP_S:
            self.milliseconds.append((self.now - person.asked) * 1000)
        person.left, person.job = self._rng.randint(*_KEYS), None
        person.next_key = self.now + self._rng.uniform(*_LOOK_S)

    def _ask(self, ids: list[int], priority: Priority) -> Job:
        new = _CHAT_TOKENS if priority is Priority.CHAT else _NEW_TOKENS
        request = GenerationRequest(tuple(ids), new, priority=priority, logprobs=0)
        self._number += 1
        loop: Any = _Inline()
        job = Job(
            lambda decoder, cache, give: decoder.answer(request, cache, give),
            request.prompt,
            priority,
            self._number,
            loop,
            None,
            new,
        )
        self._jobs.put(job)
        return job


def _over(job: Job) -> bool:
    given: Any = job.answers
    return bool(given._queue) and given._queue[-1] is DONE


def main(
    folder: Annotated[Path, typer.Argument(help="Source files to type.")],
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="As the setting.")] = "auto",
    seconds: Annotated[float, typer.Option(help="Of one person's typing; more share them.")] = 120,
    json_file: JsonOption = None,
) -> None:
    """Print percentiles, beside those of one person."""
    loaded = load_ours(model, dtype)
    torch.set_num_threads(1)  # whose time is the thread's
    encode = loaded.decoder.tokenizer.encode
    texts = [ids for ids in (encode(file.text) for file in source_files(folder)) if len(ids) > 700]
    found = []
    for chat in (False, True):
        for people in (1, 2, 4, 8):
            users = ConcurrentUsers(loaded, texts, people, chat)
            users.run(_WARM_UP_S + seconds / people**0.5)
            found.append(users)
    table = Table(title=f"{model}: ms of the engine's thread from a key to the end of its answer")
    for column in ("people", "chat", "answers", "p50", "÷ one's", "p95", "÷ one's"):
        table.add_column(column, justify="right")
    for users in found:
        one = next(other for other in found if other.people == 1 and other.chat == users.chat)
        cells = []
        for part in (0.5, 0.95):
            mine, alone = (percentile(sorted(c.milliseconds), part) for c in (users, one))
            cells += [f"{mine:.1f}", f"{mine / alone:.2f}"]
        chats = "yes" if users.chat else "no"
        table.add_row(str(users.people), chats, str(len(users.milliseconds)), *cells)
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        kept = [{"people": c.people, "chat": c.chat, "milliseconds": c.milliseconds} for c in found]
        json_file.write_text(json.dumps({"machine": machine(), "users": kept}))


if __name__ == "__main__":
    typer.run(main)

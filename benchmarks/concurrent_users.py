"""Many who type at one engine, in the processor time of the engine's thread alone.

The same as `benchmarks.server_load`, without servers, sockets and editors, and without what else
the
machine does: arrivals follow a clock that only the thread's own work moves, and that jumps to the
next key when there is none. So the figures say what sharing the engine costs, and nothing else.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, load_ours, machine
from benchmarks.stepped_scheduler import SteppedScheduler, Submission
from engine.api import GenerationRequest, Priority
from engine.network.model import LoadedModel
from fim.evaluation.files import source_files
from fim.evaluation.report import percentile
from fim.evaluation.typing_rhythm import MEDIAN_MS, SPREAD

_KEYS, _LOOK_S = (3, 9), (0.2, 0.8)
_NEW_TOKENS, _CHAT_PROMPT, _CHAT_TOKENS = 16, 300, 200
_WARM_UP_S = 3.0


@dataclass
class _Person:
    """Types a file, an id a key, and waits for the answer now and then."""

    ids: list[int]
    at: int
    next_key: float
    left: int
    submission: Submission | None = None
    asked: float = 0.0


@dataclass
class ConcurrentUsers:
    """So many people at one engine, for so many seconds of its clock."""

    model: LoadedModel
    texts: list[list[int]]
    people: int
    chat: bool
    now: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    """From the last key of a burst to the end of its answer."""

    def __post_init__(self) -> None:
        self._rng = random.Random(self.people)
        self._scheduler = SteppedScheduler(self.model)

    @torch.inference_mode()
    def run(self, seconds: float) -> None:
        """Let them type."""
        people = [self._person() for _ in range(self.people)]
        chat = self._ask(self._text()[:_CHAT_PROMPT], Priority.CHAT) if self.chat else None
        while self.now < seconds:
            for person in people:
                if person.next_key <= self.now:
                    self._press(person)
            if chat is not None and chat.done:
                chat = self._ask(self._text()[:_CHAT_PROMPT], Priority.CHAT)
            if chat is None and all(
                person.submission is None or person.submission.done for person in people
            ):
                self.now = max(self.now, min(person.next_key for person in people))
                continue
            started = time.thread_time()
            self._scheduler.scheduler.step()
            self.now += time.thread_time() - started
            for person in people:
                self._look(person)
        # On a GPU the KV caches of the next measurement use the same arena.
        self._scheduler.scheduler.drain()
        self._scheduler.scheduler.pool.drop_idle()

    def _text(self) -> list[int]:
        return self._rng.choice(self.texts)

    def _person(self) -> _Person:
        ids = self._text()
        return _Person(ids, self._start(ids), self._rng.random(), self._rng.randint(*_KEYS))

    def _start(self, ids: list[int]) -> int:
        most = min(len(ids), self.model.context_window - _NEW_TOKENS - 100)
        return self._rng.randrange(most // 2, most)

    def _press(self, person: _Person) -> None:
        if person.submission is not None:
            person.submission.job.cancelled.set()
        person.at += 1
        if person.at >= min(len(person.ids), self.model.context_window - _NEW_TOKENS):
            person.ids = self._text()
            person.at = self._start(person.ids)
        person.submission = self._ask(person.ids[: person.at], Priority.COMPLETION)
        person.asked = self.now
        person.left -= 1
        gap = self._rng.lognormvariate(0, SPREAD) * MEDIAN_MS / 1000
        person.next_key = self.now + gap if person.left else float("inf")

    def _look(self, person: _Person) -> None:
        if person.submission is None or person.left or not person.submission.done:
            return
        if person.asked > _WARM_UP_S:
            self.milliseconds.append((self.now - person.asked) * 1000)
        person.left, person.submission = self._rng.randint(*_KEYS), None
        person.next_key = self.now + self._rng.uniform(*_LOOK_S)

    def _ask(self, ids: list[int], priority: Priority) -> Submission:
        new = _CHAT_TOKENS if priority is Priority.CHAT else _NEW_TOKENS
        request = GenerationRequest(tuple(ids), new, priority=priority, logprobs=0)
        return self._scheduler.submit(request)


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
    encode = loaded.tokenizer.encode
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

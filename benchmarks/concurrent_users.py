"""Many users who type with one engine, in the processor time of the engine's thread alone.

This is `benchmarks.server_load` without servers, sockets, editors and the other load of the
machine. A simulated clock moves only with the work of the engine's thread, and jumps to the next
key when there is no work. So the figures show the cost of sharing the engine, and nothing else.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
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

_BURST_KEYS, _LOOK_S = (3, 9), (0.2, 0.8)
"""Bounds of the keys in a burst, and of the seconds that a user looks at a suggestion."""
_NEW_TOKENS, _CHAT_PROMPT, _CHAT_TOKENS = 16, 300, 200
_MIN_TEXT = 700
"""Minimum length of a typed text in tokens."""
_WARM_UP_S = 3.0


@dataclass
class _User:
    """A user who types a text, one token per key, and waits for the answer after a burst."""

    ids: list[int]
    cursor: int
    """Number of tokens of the text left of the cursor."""
    next_key: float
    """Time of the next key, in seconds of the simulated clock."""
    keys_left: int
    """Keys left in the burst."""
    name: str = ""
    request: Submission | None = None
    requested: float = 0.0
    """Time of the request, in seconds of the simulated clock."""


class ConcurrentUsers:
    """A number of users with one engine, and optionally a chat."""

    def __init__(
        self,
        model: LoadedModel,
        texts: list[list[int]],
        num_users: int,
        *,
        chat: bool,
        flood: int = 0,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """Create users. `texts` are the token ids of the texts that they type.

        `flood` is the number of requests that one further user keeps open. `clock` measures the
        engine's work in seconds. On a GPU, the time that the thread waits for the device must
        count.
        """
        self.num_users, self.chat, self.flood = num_users, chat, flood
        self.milliseconds: list[float] = []
        """Milliseconds from the last key of a burst to the end of its answer."""
        self._texts, self._max_tokens = texts, model.context_window - _NEW_TOKENS
        self._scheduler = SteppedScheduler(model)
        self._rng = random.Random(num_users)
        self._now, self._clock = 0.0, clock

    def run(self, seconds: float) -> None:
        """Let the users type for this time of the simulated clock."""
        users = [self._new_user(f"user{number}") for number in range(self.num_users)]
        chat = self._start_chat() if self.chat else None
        flood: list[Submission] = []
        while self._now < seconds:
            flood = [each for each in flood if not each.done]
            while len(flood) < self.flood:
                flood.append(self._submit(self._flood_prompt(), Priority.COMPLETION, 16, "flood"))
            for user in users:
                if user.next_key <= self._now:
                    self._press_key(user)
            if chat is not None and chat.done:
                chat = self._start_chat()
            if (
                not flood
                and chat is None
                and all(u.request is None or u.request.done for u in users)
            ):
                self._now = max(self._now, min(user.next_key for user in users))
                continue
            started = self._clock()
            self._scheduler.step()
            self._now += self._clock() - started
            for user in users:
                self._take_answer(user)
        self._scheduler.clear()  # on a GPU the caches of the next run are in the same arena

    def _start_chat(self) -> Submission:
        prompt = self._choose_text()[:_CHAT_PROMPT]
        return self._submit(prompt, Priority.CHAT, _CHAT_TOKENS, "chat")

    def _flood_prompt(self) -> list[int]:
        """Return a prompt of usual length that is not in the prefix cache."""
        ids = self._choose_text()
        start = self._rng.randrange(len(ids) // 2)
        return ids[start : start + self._first_cursor(ids) // 2]

    def _choose_text(self) -> list[int]:
        return self._rng.choice(self._texts)

    def _new_user(self, name: str) -> _User:
        ids = self._choose_text()
        cursor, next_key = self._first_cursor(ids), self._rng.random()
        return _User(ids, cursor, next_key, self._rng.randint(*_BURST_KEYS), name)

    def _first_cursor(self, ids: list[int]) -> int:
        end = min(len(ids), self._max_tokens - 100)
        return self._rng.randrange(end // 2, end)

    def _press_key(self, user: _User) -> None:
        """Type one token, cancel the previous request and submit the next one."""
        if user.request is not None:
            user.request.job.cancelled.set()
        user.cursor += 1
        if user.cursor >= min(len(user.ids), self._max_tokens):
            user.ids = self._choose_text()
            user.cursor = self._first_cursor(user.ids)
        prompt = user.ids[: user.cursor]
        user.request = self._submit(prompt, Priority.COMPLETION, _NEW_TOKENS, user.name)
        user.requested = self._now
        user.keys_left -= 1
        gap = self._rng.lognormvariate(0, SPREAD) * MEDIAN_MS / 1000
        user.next_key = self._now + gap if user.keys_left else float("inf")

    def _take_answer(self, user: _User) -> None:
        """Record the time to the answer after the last key of a burst, and start another burst."""
        if user.request is None or user.keys_left or not user.request.done:
            return
        if user.requested > _WARM_UP_S:
            self.milliseconds.append((self._now - user.requested) * 1000)
        user.keys_left, user.request = self._rng.randint(*_BURST_KEYS), None
        user.next_key = self._now + self._rng.uniform(*_LOOK_S)

    def _submit(self, ids: list[int], priority: Priority, num_tokens: int, user: str) -> Submission:
        request = GenerationRequest(
            tuple(ids), num_tokens, priority=priority, logprobs=0, user=user
        )
        return self._scheduler.submit(request)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of the source files.")],
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="Number format of the weights.")] = "auto",
    seconds: Annotated[
        float, typer.Option(help="Simulated seconds with one user; fewer with several users.")
    ] = 120,
    json_file: JsonOption = None,
) -> None:
    """Measure the time to an answer by the number of users, without and with a chat."""
    loaded = load_ours(model, dtype)
    torch.set_num_threads(1)  # the clock measures the time of one thread
    encode = loaded.tokenizer.encode
    all_ids = (encode(file.text) for file in source_files(folder))
    texts = [ids for ids in all_ids if len(ids) > _MIN_TEXT]
    measured = []
    for chat in (False, True):
        for num_users in (1, 2, 4, 8):
            users = ConcurrentUsers(loaded, texts, num_users, chat=chat)
            users.run(_WARM_UP_S + seconds / num_users**0.5)
            measured.append(users)
    Console().print(_table(model, measured))
    Console().print(machine())
    if json_file is not None:
        rows = [
            {"users": users.num_users, "chat": users.chat, "milliseconds": users.milliseconds}
            for users in measured
        ]
        json_file.write_text(json.dumps({"machine": machine(), "runs": rows}))


def _table(model: str, measured: list[ConcurrentUsers]) -> Table:
    table = Table(title=f"{model}: ms of the engine's thread from a key to the end of its answer")
    for column in ("users", "chat", "answers", "p50", "÷ one user's", "p95", "÷ one user's"):
        table.add_column(column, justify="right")
    for users in measured:
        single = next(
            other for other in measured if other.num_users == 1 and other.chat == users.chat
        )
        cells = []
        for share in (0.5, 0.95):
            milliseconds = percentile(sorted(users.milliseconds), share)
            single_milliseconds = percentile(sorted(single.milliseconds), share)
            cells += [f"{milliseconds:.1f}", f"{milliseconds / single_milliseconds:.2f}"]
        table.add_row(
            str(users.num_users),
            "yes" if users.chat else "no",
            str(len(users.milliseconds)),
            *cells,
        )
    return table


if __name__ == "__main__":
    typer.run(main)

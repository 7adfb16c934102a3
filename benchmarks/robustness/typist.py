"""A simulated user of one editor, who does everything that the server offers.

Most of the time the user types passages of real files, with the rhythm of people. In between the
user accepts suggestions, deletes, requests without waiting, switches between open files, closes
them, chats, and asks for tasks. At the end every request must have exactly one response.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.light_editor import LightEditor, OpenDocument
from fim.evaluation.counts import Passage
from fim.evaluation.typing_rhythm import MEDIAN_MS, SPREAD

_BURST_KEYS = (1, 12)
"""Minimum and maximum number of keys in a burst."""
_MAX_OPEN = 5
"""Maximum number of files that are open at a time."""
_CHAT_QUESTION = "What does this function do, and how can it fail? ({})"
_STOP_CHAT_S = (0.05, 3.0)
"""Minimum and maximum seconds after which an answer is stopped."""
_TASKS = ("explain", "document", "tests")
_TASK_LINES = 12
_ANSWER_TIMEOUT_S = 120.0
"""Seconds after which a request without a response counts as unanswered."""


@dataclass
class Typist:
    """One user, and the documents that are open in the editor."""

    editor: LightEditor
    passages: Iterator[Passage]
    rng: random.Random
    pace: float = 1.0
    """Factor for all pauses; 0.5 is twice as fast."""
    actions: Counter[str] = field(default_factory=Counter)
    """Number of actions of each kind."""
    num_unanswered: int = 0
    num_errors: int = 0
    _rest: dict[str, str] = field(default_factory=dict)
    """Text still to type in each open document, by URI."""
    _open: list[OpenDocument] = field(default_factory=list)
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def work(self, end: float) -> None:
        """Work until the event loop's clock reaches `end`, then wait for all responses."""
        loop = asyncio.get_running_loop()
        for _ in range(_MAX_OPEN):  # as an editor does that opens the files of its last session
            self._open_another()
            await self._look(self.editor.request_completion())
        while loop.time() < end:
            (action,) = self.rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            self.actions[action.__name__.strip("_")] += 1
            await action(self)
            await self._pause(0.2, 0.8)
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await asyncio.gather(*self._background)
                while self.editor.num_unanswered:  # noqa: ASYNC110 - the server answers
                    await asyncio.sleep(0.05)
        self.num_unanswered += self.editor.num_unanswered

    # Typing.

    async def _type(self) -> None:
        """Type the next keys of the passage, and wait for the suggestion."""
        document = self.editor.document
        rest = self._rest.get(document.uri, "")
        if not rest:
            await self._close_file()
            return
        keys = rest[: self.rng.randint(*_BURST_KEYS)]
        self._rest[document.uri] = rest[len(keys) :]
        for key in keys[:-1]:
            self.editor.press(key)
            request = self.editor.request_completion()
            await asyncio.sleep(self._gap())
            self._cancel_request(request)
        self.editor.press(keys[-1])
        await self._look(self.editor.request_completion())

    async def _look(self, request: int) -> None:
        """Wait for a suggestion, and accept it now and then."""
        answer = await self._answer(request)
        items = (answer or {}).get("items") or []
        if items and self.rng.random() < 0.3:
            self._accept(items[0])
            await self._answer(self.editor.request_completion())

    def _accept(self, item: dict[str, Any]) -> None:
        document, text = self.editor.document, item["insertText"]
        line_start = document.text.rfind("\n", 0, document.cursor) + 1
        start = line_start + item["range"]["start"]["character"]
        self.editor.edit(min(start, document.cursor), document.cursor, text)
        self.actions["accept"] += 1
        command = item.get("command") or {"command": "starcoder.accepted", "arguments": []}
        params = {"command": command["command"], "arguments": command["arguments"]}
        self.editor.ignore(self.editor.send_request("workspace/executeCommand", params))

    async def _delete(self) -> None:
        """Delete a few characters, one after the other, and request a suggestion after each."""
        for _ in range(self.rng.randint(1, 8)):
            cursor = self.editor.document.cursor
            self.editor.edit(max(0, cursor - 1), cursor, "")
            request = self.editor.request_completion()
            await asyncio.sleep(self._gap() / 3)
            self._cancel_request(request)

    async def _cancel(self) -> None:
        """Send requests and cancel each after a random time, some of them twice."""
        for _ in range(self.rng.randint(1, 5)):
            request = self.editor.request_completion(invoked=self.rng.random() < 0.3)
            await asyncio.sleep(self.rng.choice((0, 0.002, 0.02, 0.1)))
            self._cancel_request(request, times=self.rng.randint(1, 2))

    async def _invoke(self) -> None:
        """Request several suggestions explicitly."""
        await self._look(self.editor.request_completion(invoked=True))

    async def _move(self) -> None:
        """Go to another place, and paste or remove a line there."""
        document = self.editor.document
        lines = document.text.split("\n")
        number = self.rng.randrange(len(lines))
        start = sum(len(line) + 1 for line in lines[:number])
        if self.rng.random() < 0.5:
            self.editor.edit(start, start, f"{self.rng.choice(lines)}\n")
        else:
            self.editor.edit(start, start + len(lines[number]), "")
        self._rest[document.uri] = self._rest.get(document.uri, "")[:200]

    # Files.

    async def _switch_file(self) -> None:
        """Show another file: one that is open, or a new one."""
        if len(self._open) < _MAX_OPEN and self.rng.random() < 0.5:
            self._open_another()
        else:
            self.editor.document = self.rng.choice(self._open)

    async def _close_file(self) -> None:
        """Close the file, sometimes during a request, and show another one."""
        document = self.editor.document
        if self.rng.random() < 0.5:
            self.editor.ignore(self.editor.request_completion())
        self.editor.close(document)
        self._open.remove(document)
        self._rest.pop(document.uri, None)
        if self._open:
            self.editor.document = self.rng.choice(self._open)
        else:
            self._open_another()

    def _open_another(self) -> None:
        open_uris = {document.uri for document in self._open}
        for passage in self.passages:
            uri = passage.file.absolute_path.as_uri()
            if uri not in open_uris:
                break
        document = OpenDocument(uri, passage.file.language, passage.initial_text, passage.start)
        self._rest[uri] = passage.file.text[passage.start : passage.end].rstrip("\n")
        self.editor.show_new(document)
        self._open.append(document)

    # Chat and tasks, which run while the user types on.

    async def _chat(self) -> None:
        """Ask a question in a new conversation; stop the answer, or delete the conversation."""
        self._start(self._converse())

    async def _converse(self) -> None:
        created = await self._request("starcoder/chat/create", {})
        conversation = {"conversation": created["id"]}
        number = next(self._numbers)
        params = {
            **conversation,
            "text": _CHAT_QUESTION.format(number),
            "partialResultToken": f"chat-{number}",
            "attachments": [{"kind": "terminal", "text": "error: no such file", "label": "make"}],
        }
        answer = self.editor.send_request("starcoder/chat/send", params)
        if self.rng.random() < 0.5:
            await self._pause(*_STOP_CHAT_S)
            if self.rng.random() < 0.5:
                await self._request("starcoder/chat/stop", conversation)
            else:
                self.editor.cancel(answer)
        await self._answer(answer)
        self.editor.progress.clear()
        await self._request("starcoder/chat/list", {})
        await self._request("starcoder/chat/get", conversation)
        await self._request("starcoder/chat/delete", conversation)

    async def _task(self) -> None:
        """Ask for a task on a few lines, and cancel it now and then."""
        document = self.editor.document
        end = min(len(document.text), document.cursor + 40 * _TASK_LINES)
        params = {
            "task": self.rng.choice(_TASKS),
            "uri": document.uri,
            "range": document.range(document.cursor, end),
        }
        request = self.editor.send_request("starcoder/task", params)

        async def wait() -> None:
            if self.rng.random() < 0.5:
                await self._pause(*_STOP_CHAT_S)
                self.editor.cancel(request)
            await self._answer(request)

        self._start(wait())

    def _start(self, work: Awaitable[None]) -> None:
        if len(self._background) < 2:  # a person has one chat and one task at a time
            task = asyncio.ensure_future(work)
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        elif asyncio.iscoroutine(work):
            work.close()

    # Requests.

    async def _request(self, method: str, params: Any) -> Any:
        return await self._answer(self.editor.send_request(method, params))

    async def _answer(self, request: int) -> Any:
        """Return the result of a request, None after an error or without an answer."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                response = await self.editor.response(request)
        except TimeoutError:
            self.num_unanswered += 1
            return None
        self.num_errors += "error" in response
        return response.get("result")

    def _cancel_request(self, request: int, *, times: int = 1) -> None:
        for _ in range(times):
            self.editor.cancel(request)
        self.editor.ignore(request)

    def _gap(self) -> float:
        return self.rng.lognormvariate(0, SPREAD) * MEDIAN_MS / 1000 * self.pace

    async def _pause(self, low: float, high: float) -> None:
        await asyncio.sleep(self.rng.uniform(low, high) * self.pace)


_WEIGHTS: dict[Callable[[Typist], Awaitable[None]], int] = {
    Typist._type: 60,
    Typist._delete: 8,
    Typist._cancel: 6,
    Typist._invoke: 4,
    Typist._move: 6,
    Typist._switch_file: 8,
    Typist._close_file: 3,
    Typist._chat: 3,
    Typist._task: 2,
}
"""How often each action is chosen."""


def endless(passages: Sequence[Passage], rng: random.Random) -> Iterator[Passage]:
    """Yield random passages without end."""
    while True:
        yield rng.choice(passages)

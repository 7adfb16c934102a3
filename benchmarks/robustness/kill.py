"""Kills: each case ends or stops a process, and then counts whether the next key is answered."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import psutil

from benchmarks.light_editor import LightEditor, OpenDocument
from benchmarks.robustness.engines import SharedEngine

ANSWER_TIMEOUT_S = 60.0
"""Seconds after which a request counts as unanswered."""
_IDLE_TIMEOUT_S = 10.0
_NUM_STREAMED = 20
"""Number of characters of an answer after which the engine is killed."""
_MAX_ANSWERS = 5
"""Answers that are tried until one has not ended before the kill."""
_numbers: Iterator[int] = itertools.count()


class NotAnsweredError(Exception):
    """A request got no response, or not the expected one."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something that happens to a process, and what must follow."""

    name: str
    run: Callable[[SharedEngine], Awaitable[None]]
    """Raises NotAnsweredError."""


@dataclass
class CaseCount:
    """How often a case was tried, and how often it ended as it must."""

    name: str
    tried: int = 0
    passed: int = 0
    problem: str = ""
    """The first problem, if any."""


async def count(case: Case, shared: SharedEngine, rounds: int) -> CaseCount:
    """Try a case several times."""
    result = CaseCount(case.name)
    for _ in range(rounds):
        await _ready(shared)
        result.tried += 1
        try:
            await case.run(shared)
            result.passed += 1
        except (NotAnsweredError, TimeoutError) as error:
            result.problem = result.problem or f"{type(error).__name__}: {error}"
    return result


async def _ready(shared: SharedEngine) -> None:
    """Wait until a suggestion comes."""
    for editor in shared.editors:
        await _answered_key(editor)


def _open_new(editor: LightEditor) -> None:
    """Show a new document in which the model has an obvious suggestion that is not cached yet."""
    number = next(_numbers)
    text = f"for item_{number} in items:\n    print(item_{number})\n\nfor item_{number} in it"
    if editor.document.uri:
        editor.close(editor.document)
    editor.show_new(OpenDocument(f"file:///kill/{number}.py", "python", text, len(text)))


def _press(editor: LightEditor) -> int:
    """Press a key in a new document; return the id of the request for a suggestion."""
    _open_new(editor)
    editor.press("e")
    return editor.request_completion(invoked=True)


async def _response(editor: LightEditor, request: int) -> dict[str, object]:
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        return await editor.response(request)


async def _answered(editor: LightEditor, request: int) -> None:
    """Wait for the response to a key. Raises NotAnsweredError if it has no suggestion."""
    result = (await _response(editor, request)).get("result")
    if not isinstance(result, dict) or not result.get("items"):
        raise NotAnsweredError(f"no suggestion; the status is {editor.status.get('message')!r}")


async def _answered_key(editor: LightEditor) -> None:
    await _answered(editor, _press(editor))


async def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotAnsweredError(f"after {seconds:.0f} s there was no {what}")
        await asyncio.sleep(0.005)


def _only_one(shared: SharedEngine) -> psutil.Process:
    processes = shared.processes()
    if len(processes) != 1:
        raise NotAnsweredError(f"{len(processes)} engines are running")
    return processes[0]


# The cases.


async def idle(shared: SharedEngine) -> None:
    """The engine is killed between two keys. Its socket file stays."""
    shared.kill()
    await _answered_key(shared.editors[0])


async def during_request(shared: SharedEngine) -> None:
    """The engine is killed during a request, which is answered all the same."""
    engine = _only_one(shared)
    busy = _seconds(engine)
    request = _press(shared.editors[0])
    await _until(lambda: _seconds(engine) > busy, ANSWER_TIMEOUT_S, "work in the engine")
    shared.kill()
    await _answered(shared.editors[0], request)


async def during_start(shared: SharedEngine) -> None:
    """The engine is killed, and killed again while it starts for the next key."""
    shared.kill()
    request = _press(shared.editors[0])
    await _until(lambda: bool(shared.processes()), ANSWER_TIMEOUT_S, "new engine")
    shared.kill()
    await _answered(shared.editors[0], request)


async def during_loading(shared: SharedEngine) -> None:
    """The engine is killed, and killed again while it loads its model."""
    shared.kill()
    request = _press(shared.editors[0])
    await _until(lambda: _listens(shared), ANSWER_TIMEOUT_S, "engine that listens")
    await asyncio.sleep(0.3)
    shared.kill()
    await _answered(shared.editors[0], request)


async def all_at_the_same_time(shared: SharedEngine) -> None:
    """The engine is killed, and all editors press a key. They start one engine together."""
    shared.kill()
    requests = [_press(editor) for editor in shared.editors]
    for editor, request in zip(shared.editors, requests, strict=True):
        await _answered(editor, request)
    _only_one(shared)


async def replaced(shared: SharedEngine) -> None:
    """Another editor has started the engine again before this one notices."""
    shared.kill()
    await _answered_key(shared.editors[-1])
    engine = _only_one(shared)
    await _answered_key(shared.editors[0])
    if _only_one(shared) != engine:
        raise NotAnsweredError("a second engine was started")


async def frozen(shared: SharedEngine) -> None:
    """The engine is stopped. The key gets an empty answer and a message, and later keys work."""
    editor, engine = shared.editors[0], _only_one(shared)
    engine.send_signal(signal.SIGSTOP)
    try:
        response = await _response(editor, _press(editor))
    finally:
        engine.send_signal(signal.SIGCONT)
    result = response.get("result")
    if not isinstance(result, dict) or result.get("items"):
        raise NotAnsweredError("a stopped engine gave a suggestion")
    if "does not answer" not in str(editor.status.get("message")):
        raise NotAnsweredError(f"the status is {editor.status.get('message')!r}")
    await _answered_key(editor)
    if _only_one(shared) != engine:
        raise NotAnsweredError("a second engine was started")


async def chat(shared: SharedEngine) -> None:
    """The engine is killed during an answer. Its text stays, with one sentence on the reason."""
    editor = shared.editors[0]
    conversation, response = await _answer_with_a_kill(editor, shared.kill)
    error = response.get("error")
    stored = await editor.request("starcoder/chat/get", {"conversation": conversation})
    await editor.request("starcoder/chat/delete", {"conversation": conversation})
    if not isinstance(error, dict) or not str(error.get("message", "")).endswith("."):
        raise NotAnsweredError(f"the error is {error!r}")
    turn = stored["turns"][-1]
    if turn["state"] != "failed" or len(turn["content"]) < _NUM_STREAMED:
        raise NotAnsweredError(f"{len(turn['content'])} characters stayed, {turn['state']}")
    await _answered_key(editor)


async def _answer_with_a_kill(
    editor: LightEditor, kill: Callable[[], object]
) -> tuple[str, dict[str, object]]:
    """Kill during an answer of the chat; return the conversation and the response.

    The demo model sometimes writes only a few lines, which may have ended before the kill. Then
    another answer is asked for.
    """
    for _ in range(_MAX_ANSWERS):
        conversation, request = await _begin_answer(editor)
        kill()
        response = await _response(editor, request)
        if "error" in response:
            break
        await editor.request("starcoder/chat/delete", {"conversation": conversation})
    return conversation, response


async def _begin_answer(editor: LightEditor) -> tuple[str, int]:
    """Ask in a new conversation, and wait for the beginning of the answer.

    Returns the conversation and the id of the request.
    """
    created = await editor.request("starcoder/chat/create", {})
    token = f"answer {next(_numbers)}"
    params = {
        "conversation": created["id"],
        "text": "Write a long list of ideas.",
        "partialResultToken": token,
    }
    request = editor.send_request("starcoder/chat/send", params)
    await _until(lambda: editor.progress[token] > _NUM_STREAMED, ANSWER_TIMEOUT_S, "answer")
    return created["id"], request


async def server_killed(shared: SharedEngine) -> None:
    """A server is killed while the engine works for it. The engine stops this work.

    The last editor is used up, so this is the last case.
    """
    editor = shared.editors.pop()
    _, request = await _begin_answer(editor)
    editor.ignore(request)
    editor.process.kill()
    await editor.process.wait()
    async with asyncio.timeout(_IDLE_TIMEOUT_S):
        while not (await shared.metrics()).is_idle:  # noqa: ASYNC110 - the engine sends no event
            await asyncio.sleep(0.02)
    await _answered_key(shared.editors[0])


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _listens(shared: SharedEngine) -> bool:
    return any(
        connection.status == psutil.CONN_NONE and str(shared.runtime) in str(connection.laddr)
        for process in shared.processes()
        for connection in process.net_connections("unix")
    )


CASES = (
    Case("killed while idle", idle),
    Case("killed during a request", during_request),
    Case("killed twice: again while it starts", during_start),
    Case("killed twice: again while it loads the model", during_loading),
    Case("killed, and all editors press a key", all_at_the_same_time),
    Case("killed, and started again by another editor", replaced),
    Case("stopped (SIGSTOP)", frozen),
    Case("killed during a chat", chat),
)
"""Cases that can be repeated."""
LAST_CASE = Case("the server is killed during a chat", server_killed)
"""A case that takes one editor; it needs two."""

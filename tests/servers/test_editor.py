"""The language server with each server, as an editor sees it."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from benchmarks.servers.process import ServerProcess
from tests.e2e.client import Editor, start
from tests.servers.conftest import REPORT_NO_PROBABILITIES, settings_for

LINE = '''\
"""Prices."""

import json


def load(path):
    with open(path) as file:
        return json.load(file)


def save(path, prices):
    with open(path, "w") as file:
        json.'''
FUNCTION = "def is_even(n):\n    return n % 2 == 0\n"
"""The demo model writes a usable test of this function in its first, greedy attempt."""
OWN = {"model": "demo", "dtype": "float32", "eagerness": "eager", "projectMemory": False}

_by_us: dict[str, Any] = {}


async def with_our_engine(key: str, ask: Callable[[Editor], Awaitable[Any]]) -> Any:
    """Return what our own engine answers; each question is asked once in a session."""
    if key not in _by_us:
        async with start(settings=OWN) as editor:
            _by_us[key] = await ask(editor)
    return _by_us[key]


@pytest.fixture
def settings(server: ServerProcess) -> dict[str, object]:
    # The texts of the servers are compared, without those of the project.
    return settings_for(server, eagerness="eager", projectMemory=False)


async def test_a_half_typed_word_is_completed_while_typing(settings: dict[str, object]) -> None:
    async with start(settings=settings) as editor:
        editor.open(LINE + "\n")
        for offset, key in enumerate("du", start=len(LINE)):
            editor.insert(offset, key)
        suggestion = await editor.suggestion(len(LINE) + 2)
        assert suggestion is not None
        assert suggestion.startswith("mp")
        assert editor.statuses[-1]["state"] == "ready"


async def invoke(editor: Editor) -> list[str]:
    """Return the suggestions for an explicit request."""
    editor.open(LINE + "\n")
    context = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked)
    document = types.TextDocumentIdentifier(editor.uri)
    params = types.InlineCompletionParams(context, document, editor.position(len(LINE)))
    answer = await editor.client.text_document_inline_completion_async(params)
    return [str(item.insert_text) for item in answer.items]


async def test_an_explicit_request_gets_alternatives(
    name: str, settings: dict[str, object]
) -> None:
    expected = await with_our_engine("invoke", invoke)
    assert len(expected) > 1
    async with start(settings=settings) as editor:
        suggested = await invoke(editor)
    if name in REPORT_NO_PROBABILITIES:
        assert suggested == expected[:1]
    else:
        assert suggested == expected


async def test_a_question_is_answered(settings: dict[str, object]) -> None:
    async with start(settings=settings) as editor:
        conversation = (await editor.request("starcoder/chat/create"))["id"]
        params = {
            "conversation": conversation,
            "text": f"Explain this function.\n\n```python\n{FUNCTION}```",
            "partialResultToken": 1,
        }
        answer = await editor.request("starcoder/chat/send", params)
        content = answer["turn"]["content"]
        assert content.strip()
        assert "".join(editor.streamed(1)).strip() == content.strip()
        assert "<|" not in content


async def test_tests_are_written(settings: dict[str, object], tmp_path: Path) -> None:
    async def write_tests(editor: Editor) -> str:
        editor.open(FUNCTION, (tmp_path / "mod.py").as_uri())
        position = {"line": 0, "character": 4}
        range_ = {"start": position, "end": position}
        params = {"task": "tests", "uri": editor.uri, "range": range_}
        edit = (await editor.request("starcoder/task", params))["edit"]
        (change,) = (each for each in edit["documentChanges"] if "edits" in each)
        return str(change["edits"][0]["newText"])

    expected = await with_our_engine("tests", write_tests)
    assert "def test_" in expected
    async with start(settings=settings) as editor:
        assert await write_tests(editor) == expected

"""The server stays responsive, and answers, in long lines, large files and deeply nested code.

While a user types in such a file, another request must be answered in between: nothing that grows
with the file may run in the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time

import pytest
from lsprotocol import types

from tests.e2e.client import Editor, scripted, start, use_encoding

MAX_PAUSE_S = 0.6
"""Longest time without an answer, on a machine that runs other tests at the same time."""

MINIFIED = "".join(f'function f{i}(a,b){{return a[{i}]+"x{i}"*(b)}};' for i in range(25_000))[
    :1_000_000
]

TEXTS = {
    "minified code": ("javascript", MINIFIED),
    "minified code with other characters": ("javascript", "é🎉" + MINIFIED[2:]),
    "one line of JSON": ("json", json.dumps([{"key": i, "text": "a\\"} for i in range(40_000)])),
    "base64": ("python", "x = '" + base64.b64encode(bytes(750_000)).decode() + "'\n"),
    "one word": ("plaintext", "abcdefgh" * 125_000),
    "quotes": ("javascript", "\"'a' " * 200_000),
    "brackets": ("python", "(" * 500_000 + ")" * 500_000),
    "spaces": ("python", " " * 1_000_000),
    "empty lines": ("python", "\n" * 1_000_000),
    "50,000 lines": ("python", "".join(f"x{i} = call({i}, 'a')\n" for i in range(50_000))),
    "10 MB": ("python", "    välue = compute(a, b)\n" * 400_000),
}


async def longest_pause(editor: Editor, until: asyncio.Event) -> float:
    """Ask a small question again and again; return the longest time to an answer, in seconds."""
    longest = 0.0
    while not until.is_set():
        started = time.perf_counter()
        await editor.request("test/futures")
        longest = max(longest, time.perf_counter() - started)
        await asyncio.sleep(0.005)
    return longest


async def type_at(editor: Editor, position: types.Position) -> None:
    """Type a few characters at a position and ask for everything that editors ask for."""
    document = types.TextDocumentIdentifier(editor.uri)
    for character in "ab(":
        editor.version += 1
        editor.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(editor.version, editor.uri),
                [
                    types.TextDocumentContentChangePartial(
                        range=types.Range(position, position), text=character
                    )
                ],
            )
        )
        position = types.Position(position.line, position.character + 1)
        automatic = types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked)
        await asyncio.gather(
            editor.client.text_document_inline_completion_async(
                types.InlineCompletionParams(
                    context=automatic, text_document=document, position=position
                )
            ),
            editor.client.text_document_code_action_async(
                types.CodeActionParams(
                    document, types.Range(position, position), types.CodeActionContext([])
                )
            ),
        )


@pytest.mark.parametrize("name", TEXTS)
async def test_typing_in_a_long_text_blocks_nothing(name: str) -> None:
    language, text = TEXTS[name]
    last_line = text.count("\n")
    async with start(scripted("foo(a, b);\n    bar[1] = 2\n")) as editor:
        editor.open("x", "file:///work-space/warm.js", "javascript")
        await editor.suggestion(1, invoked=True)  # imports take long the first time
        editor.open(text, "file:///work-space/long", language)
        await editor.request("test/futures")
        done = asyncio.Event()
        pulse = asyncio.create_task(longest_pause(editor, done))
        line_length = text.find("\n") if "\n" in text else len(text)
        for line, character in (
            (0, 0),
            (last_line // 2, line_length // 2),
            (last_line, 0 if last_line else len(text)),
        ):
            await type_at(editor, types.Position(line, character))
        done.set()
        assert await pulse < MAX_PAUSE_S


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
async def test_many_edits_of_a_long_line_give_the_same_text(encoding: str) -> None:
    async with start(scripted("y"), change_capabilities=use_encoding(encoding)) as editor:
        assert editor.encoding == encoding
        editor.open("é🎉a" * 100_000)
        started = time.perf_counter()
        for _ in range(100):
            editor.insert(150_001, "b🎉")
        assert await editor.suggestion(150_003, invoked=True) is not None
        assert time.perf_counter() - started < 20
        prompt = (await editor.engine_requests())["texts"][0]
        assert "b🎉" * 20 in prompt


DEEP = {
    "300 chained calls": (
        "javascript",
        "const q = start" + "".join(f"\n  .step({i})" for i in range(300)) + ";\n",
    ),
    "10,000 brackets": ("javascript", "q = " + "[" * 10_000 + "]" * 10_000 + ";\n"),
    "10,000 functions": ("javascript", "q(function () {" * 10_000 + "})" * 10_000 + ";\n"),
    "5,000 else-ifs": (
        "c",
        "int g(int x) {\n  if (x == 0) return 0;\n"
        + "".join(f"  else if (x == {i}) return {i};\n" for i in range(5_000))
        + "  return -1;\n}\n",
    ),
    "600 strings": (
        "python",
        "Q = (" + " +\n    ".join(f"'part{i}'" for i in range(600)) + ")\n",
    ),
    "20,000 strings": ("python", "Q = (" + " +\n    ".join(["'part'"] * 20_000) + ")\n"),
    "10,000 lists": ("python", "Q = " + "[" * 10_000 + "]" * 10_000 + "\n"),
    "5,000 generics": ("rust", "type A = " + "B<" * 5_000 + "u8" + ">" * 5_000 + ";\n"),
    "3,000 templates": ("cpp", "template <class T> " * 3_000 + "int g();\n"),
    "5,000 ifs": ("ruby", "if a\n" * 5_000 + "end\n" * 5_000),
}
SMALL = {
    "javascript": ("function f(a) {\n  return a;\n}\n", "function f(a) {\n  return 2;\n}"),
    "c": ("int f(int a) {\n  return a;\n}\n", "int f(int a) {\n  return 2;\n}"),
    "cpp": ("int f(int a) {\n  return a;\n}\n", "int f(int a) {\n  return 2;\n}"),
    "python": ("def f(a):\n    return a\n", "def f(a):\n    return 2"),
    "rust": ("fn f(a: u8) -> u8 {\n    a\n}\n", "fn f(a: u8) -> u8 {\n    2\n}"),
    "ruby": ("def f(a)\n  a\nend\n", "def f(a)\n  2\nend"),
}


@pytest.mark.parametrize("name", DEEP)
async def test_a_function_after_deep_code_is_like_any_other(name: str) -> None:
    language, deep = DEEP[name]
    code, answer = SMALL[language]
    async with start(scripted(f"{answer}\n```\n")) as editor:
        editor.open(f"{deep}\n{code}", "file:///work-space/deep", language)
        line = deep.count("\n") + 2
        cursor = types.Position(line, 2)
        actions = await editor.client.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(editor.uri),
                types.Range(cursor, cursor),
                types.CodeActionContext([]),
            )
        )
        assert [action.title.split()[-1] for action in actions or ()] == ["f", "f", "f", "f"]
        await editor.suggestion(len(editor.text) - 1, invoked=True)
        range_ = {"start": {"line": line, "character": 2}, "end": {"line": line, "character": 2}}
        for task in ("edit", "explain"):
            params = {"task": task, "uri": editor.uri, "range": range_, "instruction": "Two."}
            result = await editor.request("starcoder/task", params)
            assert result["edit"] if task == "edit" else result["note"]

"""Write transcripts of a real model at work: a chat, generated tests, and a completion.

The product's own server answers: LSP requests for the chat and the tests, and the command
`complete` for the completion. Nothing is edited or selected. The conversation is sampled, so each
run writes another one; the tests and the completion are greedy. The questions are easy enough for
a small model, and a test that fails is shown as it is.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.real_model.perplexity import FolderArgument
from lsp_server.cli.editor import ScriptedEditor, editor_with_server
from tests.e2e.client import to_plain

_QUESTIONS = (
    "Write a Python function that checks whether a number is even.",
    "Now write a function that checks whether it is odd.",
    "Explain both functions in one sentence.",
)
_SOURCE = '''\
"""Arithmetic."""


def clamp(value, low, high):
    """Return the number between low and high that is nearest to value."""
    return max(low, min(value, high))


def add(a, b):
    """Return the sum of two numbers."""
    return a + b
'''
_TESTS = '"""Tests of arithmetic."""\n'
_FUNCTIONS = {"clamp": "return max", "add": "return a + b"}
"""The functions that get tests, and where the cursor is."""
_UNFINISHED = '''\
"""Temperatures."""


def celsius_to_fahrenheit(celsius):
    """Convert a temperature from Celsius to Fahrenheit."""
    return celsius * 9 / 5 + 32


def fahrenheit_to_celsius(fahrenheit):
    """Convert a temperature from Fahrenheit to Celsius."""
    return '''
_COMMAND = "python -m benchmarks.real_model.transcripts FOLDER"
_INTRODUCTION = "SmolLM2-135M-Instruct, a model of 135 million parameters, wrote this. The command:"


async def _request(editor: ScriptedEditor, method: str, params: dict[str, Any]) -> Any:
    return await editor.client.protocol.send_request_async(method, params)


async def chat(editor: ScriptedEditor) -> str:
    """Hold a conversation of three questions, and return it as the server exports it."""
    conversation = (await _request(editor, "starcoder/chat/create", {})).id
    named = {"conversation": conversation}
    for question in _QUESTIONS:
        await _request(editor, "starcoder/chat/send", {**named, "text": question})
    markdown = str((await _request(editor, "starcoder/chat/export", named)).markdown)
    await _request(editor, "starcoder/chat/delete", named)
    title, _, turns = markdown.partition("\n")
    return "\n\n".join([title, _INTRODUCTION, _block("sh", _COMMAND), turns.strip()])


async def write_tests(editor: ScriptedEditor, root: Path) -> str:
    """Have tests written for the functions of a small project, run them, and return a report."""
    editor.open(_SOURCE, (root / "arithmetic.py").as_uri())
    parts = [
        "# Tests",
        _INTRODUCTION,
        _block("sh", _COMMAND),
        "The server got `starcoder/task` with the task `tests` for each function.",
        "## The code",
        _block("python", _SOURCE),
    ]
    for name, place in _FUNCTIONS.items():
        tests, output = await _write_test(editor, root, place)
        parts += [f"## Test of {name}", _block("python", tests)]
        parts += ["The output of pytest:", _block("text", output)]
    return "\n\n".join(parts)


async def _write_test(editor: ScriptedEditor, root: Path, place: str) -> tuple[str, str]:
    """Return the test file with a test for the function that contains `place`, and its output."""
    file = root / "test_arithmetic.py"
    await asyncio.to_thread(file.write_text, _TESTS, encoding="utf-8")
    line = _SOURCE[: _SOURCE.index(place)].count("\n")
    cursor = {"line": line, "character": 4}
    range_ = {"start": cursor, "end": cursor}
    params = {"task": "tests", "uri": editor.uri, "range": range_}
    answer = to_plain(await _request(editor, "starcoder/task", params))
    (edits,) = answer["edit"]["changes"].values()  # the file exists, so it is the only one
    tests = _with_edits(_TESTS, edits)
    await asyncio.to_thread(file.write_text, tests, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"]
    run = await asyncio.to_thread(
        subprocess.run, [*command, file.name], cwd=root, capture_output=True, text=True, check=False
    )
    return tests, run.stdout


def _with_edits(text: str, edits: list[dict[str, Any]]) -> str:
    """Return a text with the server's edits, which only insert, the last position first."""
    lines = text.splitlines(keepends=True)
    insertions = []
    for edit in edits:
        start = edit["range"]["start"]
        assert start == edit["range"]["end"]
        offset = sum(map(len, lines[: start["line"]])) + start["character"]
        insertions.append((offset, edit["newText"]))
    insertions.reverse()  # those at the same place stay in the server's order
    for offset, new_text in sorted(insertions, key=lambda insertion: insertion[0], reverse=True):
        text = text[:offset] + new_text + text[offset:]
    return text


def _block(language: str, content: str) -> str:
    return f"```{language}\n{content.strip()}\n```"


def complete(folder: str, root: Path) -> str:
    """Complete an unfinished line with the product's command, and return a report."""
    file = root / "temperatures.py"
    file.write_text(_UNFINISHED, encoding="utf-8")
    lines = _UNFINISHED.split("\n")
    position = f"{file.name}:{len(lines)}:{len(lines[-1]) + 1}"
    command = ["-P", "-m", "lsp_server", "complete", position, "--plain", "--model", folder]
    run = subprocess.run(
        [sys.executable, *command], cwd=root, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    return "\n\n".join(
        [
            "# Completion",
            _INTRODUCTION,
            _block("sh", f"starcoder-lsp complete {position} --plain --model FOLDER"),
            "## temperatures.py",
            _block("python", _UNFINISHED),
            "## Suggestion",
            _block("python", run.stdout),
        ]
    )


async def _ask_server(folder: str, root: Path) -> dict[str, str]:
    """Return the transcripts for which a server is asked, by file name."""
    for name, text in (("arithmetic.py", _SOURCE), ("test_arithmetic.py", _TESTS)):
        await asyncio.to_thread((root / name).write_text, text, encoding="utf-8")
    settings = {"model": folder, "statistics": False, "idleTimeoutSeconds": 60.0}
    async with editor_with_server(settings, [root]) as editor:
        await editor.wait_until_ready()
        return {"chat.md": await chat(editor), "tests.md": await write_tests(editor, root)}


def main(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option(help="Folder of the transcripts.")] = Path(
        "docs/transcripts"
    ),
) -> None:
    """Write the transcripts as Markdown."""
    path = str(Path(folder).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        transcripts = asyncio.run(_ask_server(path, root))
        transcripts["complete.md"] = complete(path, root)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in transcripts.items():
        (out / name).write_text(text.strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

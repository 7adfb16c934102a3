"""Every error of ours reaches the user with its text: in the status, a message and the terminal.

The faults are real: a file where a folder is needed, a full device, another process's lock.
"""

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pygls.exceptions import JsonRpcException

from engine.loading.on_disk import EMBEDDED_DIR
from lsp_server.session.pygls_internals import INTERNAL_ERROR_MESSAGE
from tests.e2e.client import SERVER, scripted, start

pytestmark = pytest.mark.usefixtures("own_engines")

PYTHON = re.compile(r"Traceback|\[Errno|\w+Error\b|Exception|\bNone\b|<class|see the log")
CODE = "for item in items:\n    print(item)\n\nfor item in ite"


def check_words(message: str) -> None:
    assert message
    assert not PYTHON.search(message), message
    assert message != INTERNAL_ERROR_MESSAGE


# Models.

Damage = Callable[[Path], object]


def config_with(**values: Any) -> Damage:
    def change(model: Path) -> None:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        (model / "config.json").write_text(json.dumps({**config, **values}), encoding="utf-8")

    return change


def cut_weights(model: Path) -> None:
    (weights,) = model.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])


def make_folder_of(name: str) -> Damage:
    def change(model: Path) -> None:
        (model / name).unlink()
        (model / name).mkdir()

    return change


MODELS: dict[str, tuple[Damage, str]] = {
    "absent": (shutil.rmtree, "There is no directory"),
    "no config": (lambda model: (model / "config.json").unlink(), "no config.json"),
    "config is half": (lambda model: (model / "config.json").write_text("{"), "not valid JSON"),
    "config is a folder": (make_folder_of("config.json"), "is a directory"),
    "unknown architecture": (config_with(model_type="nonsense"), "architecture"),
    "size is a word": (config_with(n_embd="many"), "config.json"),
    "no heads": (config_with(n_head=0), "config.json"),
    "weights are cut": (cut_weights, "download the model again"),
    "no tokenizer": (lambda model: (model / "tokenizer.json").unlink(), "tokenizer"),
    "wrong tokenizer": (lambda model: (model / "tokenizer.json").write_text("{}"), "tokenizer"),
    "tokenizer is a folder": (make_folder_of("tokenizer.json"), "tokenizer"),
}


@pytest.mark.parametrize("fault", MODELS)
async def test_what_is_wrong_with_a_model_is_said_everywhere(fault: str, tmp_path: Path) -> None:
    damage, words = MODELS[fault]
    model = tmp_path / "model"
    shutil.copytree(EMBEDDED_DIR, model)
    damage(model)
    async with start(settings={"model": str(model)}) as editor:
        status = await editor.wait_for_state("error")
        check_words(status["message"])
        assert words in status["message"]
        assert str(model) in status["message"]
        await editor.wait_for_message(status["message"])
        assert len(editor.client.messages) == 1
        editor.open(CODE)
        assert await editor.suggestion(len(CODE), invoked=True) is None
        assert editor.statuses[-1]["message"] == status["message"]
        conversation = (await editor.request("starcoder/chat/create"))["id"]
        with pytest.raises(JsonRpcException) as raised:
            await editor.request("starcoder/chat/send", {"conversation": conversation, "text": "x"})
        assert raised.value.message == status["message"]


def cli(*arguments: str, cwd: Path) -> str:
    """Return what a command that fails prints on both streams."""
    process = subprocess.run(
        [*SERVER, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        timeout=100,
    )
    assert process.returncode != 0
    return process.stdout + process.stderr


def test_a_wrong_model_has_the_same_message_in_every_command(tmp_path: Path) -> None:
    for number in range(3):
        text = "\n".join(f"def f{line}(x):\n    return x + {line}\n" for line in range(60))
        (tmp_path / f"a{number}.py").write_text(text)
    wrong = str(tmp_path / "absent")
    expected = f"There is no directory and no file {wrong}."
    commands = [
        ("complete", "a0.py:1:5", "--model", wrong),
        ("doctor", "--model", wrong),
        ("models", "--chat-model", wrong),
        ("serve", "--model", wrong, "--port", "0"),
        ("eval", ".", "--model", wrong),
        ("demo", "--model", wrong),
        ("tune", "code", ".", "--model", wrong),
    ]
    for command in commands:
        output = cli(*command, cwd=tmp_path)
        assert expected in output.replace("\n", ""), (command, output)
        assert "Traceback" not in output


# Folders of the program.


async def test_no_folder_of_logs_statistics_or_kernels_stops_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    environment = {
        "STARCODER_LSP_LOG_DIR": str(file / "log"),
        "STARCODER_LSP_STATISTICS": str(file / "stats.sqlite3"),
        "XDG_CACHE_HOME": str(file / "cache"),
        "PATH": "",  # no compiler: compiling the kernels into another folder takes minutes
    }
    async with start(settings={"model": "demo"}, environment=environment) as editor:
        await editor.wait_for_state("ready")
        editor.open(CODE)
        assert await editor.suggestion(len(CODE), invoked=True)
        assert editor.client.messages == []


async def test_an_engine_without_any_log_starts(own_engines: Path) -> None:
    """The fallback is a file in the runtime directory; here its place has a folder."""
    environment = {"STARCODER_LSP_LOG_DIR": "/dev/null/logs"}
    async with start(settings={"model": "demo"}, environment=environment) as first:
        await first.wait_for_state("ready")
        (engine,) = await first.request("starcoder/engines")
        await first.request("starcoder/stopEngine", {"pid": engine["pid"]})
    (log,) = own_engines.glob("*.log")
    log.unlink()
    log.mkdir()
    async with start(settings={"model": "demo"}, environment=environment) as editor:
        await editor.wait_for_state("ready")


async def test_a_runtime_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {"STARCODER_LSP_RUNTIME_DIR": str(tmp_path / "file" / "run")}
    async with start(settings={"model": "demo"}, environment=environment) as editor:
        status = await editor.wait_for_state("error")
        check_words(status["message"])
        assert environment["STARCODER_LSP_RUNTIME_DIR"] in status["message"]
        with pytest.raises(JsonRpcException, match="runtime directory"):
            await editor.request("starcoder/engines")


# Chats.


def newer(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("pragma user_version = 99")
    database.commit()
    database.close()


CHATS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder cannot be made": (lambda file: file.parent.write_text(""), "cannot be used"),
    "is a folder": (lambda file: file.mkdir(parents=True), "Move it away"),
    "newer version": (lambda file: (file.parent.mkdir(), newer(file)), "newer starcoder-lsp"),
    "is a device": (
        lambda file: (file.parent.mkdir(), file.symlink_to("/dev/full")),
        "is a link",
    ),
}


async def chat(editor: Any) -> tuple[str, str]:
    """Create a conversation and use it; return its problem and the one message that was shown."""
    created = await editor.request("starcoder/chat/create")
    await editor.request("starcoder/chat/send", {"conversation": created["id"], "text": "Hello?"})
    stored = await editor.request("starcoder/chat/get", {"conversation": created["id"]})
    assert [turn["role"] for turn in stored["turns"]] == ["user", "assistant"]
    again = await editor.request("starcoder/chat/create")
    assert again["problem"] == created["problem"]
    (message,) = [message.message for message in editor.client.messages] or [""]
    return created["problem"], message


@pytest.mark.parametrize("fault", CHATS)
async def test_a_file_of_chats_that_cannot_be_used_is_named(fault: str, tmp_path: Path) -> None:
    prepare, words = CHATS[fault]
    file = tmp_path / "chats" / "chats.sqlite3"
    prepare(file)
    environment = {"STARCODER_LSP_CHATS": str(file)}
    async with start(scripted("an answer"), environment=environment) as editor:
        problem, message = await chat(editor)
    assert problem == message
    assert str(file) in problem
    assert words in problem
    check_words(problem)


async def test_a_full_disk_is_named(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite3"
    limited = [
        sys.executable,
        "-c",
        "import os, resource, signal, sys; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "os.execv(sys.argv[1], sys.argv[1:])",
    ]
    environment = {"STARCODER_LSP_CHATS": str(file)}
    command = [*limited, *scripted("an answer")]
    async with start(command, environment=environment) as editor:
        problem, message = await chat(editor)
    assert problem == message
    assert str(file) in problem
    check_words(problem)


async def test_a_lock_of_another_program_is_named(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite3"
    other = sqlite3.connect(file)
    other.execute("begin exclusive")
    environment = {"STARCODER_LSP_CHATS": str(file)}
    async with start(scripted("an answer"), environment=environment) as editor:
        problem, message = await chat(editor)
    other.close()
    assert problem == message
    assert "locked by another program" in problem


async def test_a_damaged_file_is_kept_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite3"
    file.write_bytes(b"no database" * 500)
    environment = {"STARCODER_LSP_CHATS": str(file)}
    async with start(scripted("an answer"), environment=environment) as editor:
        problem, message = await chat(editor)
    assert problem == ""
    assert "It is kept as" in message
    assert len(list(tmp_path.iterdir())) == 2


async def test_only_unexpected_errors_are_hidden() -> None:
    async with start(scripted("1")) as editor:
        with pytest.raises(JsonRpcException) as hidden:
            await editor.request("test/crash")
        assert hidden.value.message == INTERNAL_ERROR_MESSAGE
        with pytest.raises(JsonRpcException, match="no such conversation") as shown:
            await editor.request("starcoder/chat/get", {"conversation": "absent"})
        assert shown.value.code != hidden.value.code
        await asyncio.sleep(0)

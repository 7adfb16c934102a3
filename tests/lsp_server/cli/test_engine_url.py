"""Commands with a server in place of an engine of this machine: `--engine-url`."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from engine.loading.on_disk import EMBEDDED_DIR
from lsp_server.cli import doctor_server
from lsp_server.cli.app import app
from lsp_server.cli.engine_server import EngineServer
from lsp_server.session.engine_choice import TOKEN_VARIABLE
from tests.lsp_server.cli.runner import LEAKS
from tests.remote_server import HTML, Server, response, write_tokenizer

TOKEN = "token-of-the-test-server"
NOWHERE = "http://127.0.0.1:9"
SOURCE = (
    "import os\n\n\ndef read(path):\n    with open(path) as file:\n        return file.read()\n"
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "complete": ("complete", "{folder}/a.py:6:9"),
    "eval": ("eval", "{folder}", "--count", "2"),
    "replay": ("replay", "{folder}", "--files", "1", "--lines", "1", "--gap-ms", "20"),
    "demo": ("demo",),
    "doctor": ("doctor",),
}
"""The commands that complete code."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def serving() -> Iterator[str]:
    """The URL of a `starcoder-lsp serve` with the demo model and a token."""
    port = free_port()
    command = [sys.executable, "-m", "lsp_server", "serve", "--model", "demo", "--port", str(port)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "STARCODER_LSP_TOKEN": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while not _is_ready(url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(url: str) -> bool:
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx2.get(f"{url}/health", headers=headers, timeout=5)
    except httpx2.HTTPError:
        return False
    return bool(answer.json().get("state") == "ready")


@contextmanager
def other_server() -> Iterator[Server]:
    """Run a server with OpenAI's API in a thread."""
    loop, server = asyncio.new_event_loop(), Server()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def other() -> Iterator[Server]:
    with other_server() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_text(SOURCE)
    return folder


def run(name: str, folder: Path, *options: str, token: str | None = None) -> Result:
    """Run a command; a runtime folder that cannot be used proves that no engine is started."""
    arguments = [part.format(folder=folder) for part in COMMANDS[name]]
    environment = {
        TOKEN_VARIABLE: token,
        "COLUMNS": "200",
        "STARCODER_LSP_RUNTIME_DIR": "/dev/null/no-engine-here",
    }
    return CliRunner().invoke(app, [*arguments, *options], env=environment)


def assert_refused(result: Result, *words: str, status: int = 1) -> None:
    text = " ".join(result.output.split())
    assert result.exit_code == status, text
    assert result.exception is None or isinstance(result.exception, SystemExit)
    for word in words:
        assert word in text, text
    assert not [leak for leak in LEAKS if leak in text], text
    assert TOKEN not in text
    assert "starcoder.engine" not in text  # it is no setting here


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_works_with_a_server(name: str, folder: Path, serving: str) -> None:
    result = run(name, folder, "--engine-url", serving, token=TOKEN)
    assert result.exit_code == 0, result.output
    assert TOKEN not in result.output
    if name != "complete":
        assert serving in result.output


def test_the_token_of_the_command_line_counts_first(folder: Path, serving: str) -> None:
    options = ("--engine-url", f"{serving}/v1/", "--engine-token", TOKEN)
    result = run("complete", folder, *options, token="another")
    assert result.exit_code == 0, result.output
    assert "model, " in result.output


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fault", ["silence", "no token", "wrong token", "no such model"])
def test_each_fault_is_one_sentence(name: str, fault: str, folder: Path, serving: str) -> None:
    url, token, options, words = {
        "silence": (NOWHERE, None, (), ("nothing listens there", "--engine-url")),
        "no token": (serving, None, (), ("--engine-token",)),
        "wrong token": (serving, "wrong", (), ("--engine-token",)),
        "no such model": (
            serving,
            TOKEN,
            ("--engine-model", "poet"),
            ("poet", "--engine-model", "(demo)"),
        ),
    }[fault]
    assert_refused(run(name, folder, "--engine-url", url, *options, token=token), *words)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_tokenizer_is_needed_for_another_server(name: str, folder: Path, other: Server) -> None:
    assert_refused(run(name, folder, "--engine-url", other.url), "--tokenizer", other.url)
    missing = ("--tokenizer", str(folder / "none"))
    assert_refused(run(name, folder, "--engine-url", other.url, *missing), "no tokenizer", "none")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(200, HTML, "text/html"), ("OpenAI", "--engine-url")),
        (response(500, {"detail": "broken"}), ("broken",)),
    ],
)
def test_a_page_in_place_of_a_server(
    answer: bytes, words: tuple[str, ...], folder: Path, other: Server
) -> None:
    other.faults["*"] = answer
    for name in ("complete", "eval", "doctor"):
        assert_refused(run(name, folder, "--engine-url", other.url), *words)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *((name, "--model", "demo") for name in COMMANDS),
        *((name, "--dtype", "float32") for name in ("complete", "eval")),
        *((name, "--device", "cpu") for name in ("complete", "eval")),
        ("doctor", "--chat-model", "x"),
    ],
)
def test_options_that_contradict_each_other(
    name: str, option: str, value: str, folder: Path
) -> None:
    result = run(name, folder, "--engine-url", NOWHERE, option, value)
    advice = "--engine-model" if "model" in option else "this machine"
    assert_refused(result, f"--engine-url and {option} exclude each other", advice)


@pytest.mark.parametrize("option", ["--engine-token", "--engine-model", "--tokenizer"])
def test_options_of_a_server_need_one(option: str, folder: Path) -> None:
    for name in COMMANDS:
        result = run(name, folder, option, TOKEN)
        assert_refused(result, f"{option} is for a server", "--engine-url")


def test_variables_contradict_nothing(
    folder: Path, serving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_MODEL", "somebody/elses")
    result = run("complete", folder, "--engine-url", serving, token=TOKEN)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine-url", "box:8765"), ("--engine-url 'box:8765' cannot", "http:// or https://")),
        (("--engine-url", "http://box:99999"), ("--engine-url 'http://box:99999' cannot", "port")),
        (("--engine-url", "http://"), ("--engine-url 'http://' cannot", "no host")),
        (
            ("--engine-url", NOWHERE, "--engine-token", f"{TOKEN}\n"),
            ("--engine-token cannot be used", "printable ASCII"),
        ),
        (
            ("--engine-url", NOWHERE, "--tokenizer", "a\0b"),
            ("--tokenizer", "cannot be used", "null character"),
        ),
    ],
)
def test_values_that_cannot_be_used(
    options: tuple[str, ...], words: tuple[str, ...], folder: Path
) -> None:
    assert_refused(run("complete", folder, *options), *words)


def test_reports_name_the_server(folder: Path, serving: str, tmp_path: Path) -> None:
    for name in ("eval", "replay"):
        report = tmp_path / f"{name}.json"
        result = run(name, folder, "--engine-url", serving, "--json", str(report), token=TOKEN)
        assert result.exit_code == 0, result.output
        content = json.loads(report.read_text())
        assert content["server"] == serving
        assert content["model"] == "demo"
        assert f"demo at {serving}" in result.output
    assert EngineServer("https://me:secret@box:8000/v1").address == "https://box:8000/v1"


def test_the_tokenizer_is_found_from_the_users_folder(
    folder: Path, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    write_tokenizer(folder / "model")
    result = run("complete", folder, "--engine-url", other.url, "--tokenizer", "model")
    assert result.exit_code == 0, result.output
    assert other.bodies[-1]["model"] == "one"
    other.models.insert(0, {"id": "zero"})
    options = ("--tokenizer", "model", "--engine-model", "one")
    assert run("complete", folder, "--engine-url", other.url, *options).exit_code == 0
    assert other.bodies[-1]["model"] == "one"


# judge


def judge(tmp_path: Path, judge_url: str, *options: str) -> Result:
    (tmp_path / "prompts.txt").write_text("Why?\n")
    arguments = ["judge", str(tmp_path / "prompts.txt"), "--judge-url", judge_url]
    names = ["--judge-model", "j", "--a", "one", "--b", "two"]
    environment: dict[str, str | None] = {
        "STARCODER_LSP_RUNTIME_DIR": "/dev/null/no-engine-here",
        "COLUMNS": "200",
        TOKEN_VARIABLE: None,
    }
    return CliRunner().invoke(app, [*arguments, *names, *options], env=environment)


def test_both_models_of_judge_are_those_of_the_server(tmp_path: Path, other: Server) -> None:
    other.models = [{"id": "two"}, {"id": "one"}]
    other.faults["/v1/chat/completions"] = response(
        200, {"choices": [{"message": {"content": "7 3\nGood."}}]}
    )
    tokenizer = str(write_tokenizer(tmp_path / "model"))
    url = f"{other.url}/v1"
    result = judge(tmp_path, url, "--engine-url", other.url, "--tokenizer", tokenizer)
    assert result.exit_code == 0, result.output
    assert [body["model"] for body in other.bodies] == ["one", "two"]
    other.models.pop()
    missing = judge(tmp_path, url, "--engine-url", other.url, "--tokenizer", tokenizer)
    assert_refused(missing, "model one", "--a or --b")
    assert_refused(judge(tmp_path, url, "--tokenizer", tokenizer), "--engine-url")


# doctor


def lines_of(result: Result) -> dict[str, tuple[str, str]]:
    """Return the mark and the detail of each line by its name."""
    rows = [line for line in result.output.splitlines() if line[:4] in ("ok  ", "no  ")]
    return {line[4:17].strip(): (line[:2], line[17:]) for line in rows}


def test_doctor_checks_what_completions_need(folder: Path, serving: str) -> None:
    result = run("doctor", folder, "--engine-url", serving, token=TOKEN)
    lines = lines_of(result)
    names = ["address", "model", "tokenizer", "window", "output", "half word"]
    assert list(lines)[2:] == [*names, "completion", "cancelling"]
    assert all(mark == "ok" for mark, _ in lines.values())
    assert lines["model"][1] == "demo, served by starcoder-lsp serve"
    assert lines["window"][1] == "1024 tokens"
    assert "'import" in lines["half word"][1]
    assert "torch" not in lines
    assert "No problems." in result.output


def test_doctor_says_what_another_server_lacks(folder: Path, other: Server) -> None:
    tokenizer = str(write_tokenizer(folder / "model"))
    options = ("--engine-url", other.url, "--tokenizer", tokenizer)
    result = run("doctor", folder, *options)
    assert result.exit_code == 1
    lines = lines_of(result)
    assert lines["model"][1].startswith("one, served by ")
    assert "--max-model-len" in lines["window"][1]
    assert lines["output"][0] == "no"
    assert "no log-probabilities" in lines["output"][1]
    assert lines["address"][0] == lines["tokenizer"][0] == "ok"
    other.models = [{"id": "one"}]
    assert "contextWindow" in lines_of(run("doctor", folder, *options))["window"][1]
    assert TOKEN not in result.output


def test_doctor_compares_the_tokenizer_with_the_server(folder: Path, other: Server) -> None:
    other.faults["/tokenize"] = response(200, {"tokens": [1, 2, 3]})
    tokenizer = str(EMBEDDED_DIR)
    result = run("doctor", folder, "--engine-url", other.url, "--tokenizer", tokenizer)
    lines = lines_of(result)
    assert lines["tokenizer"][0] == "no"
    assert "not that of the model one" in lines["tokenizer"][1]
    assert "--tokenizer" in lines["tokenizer"][1]
    assert "output" not in lines  # later checks would only repeat it


@pytest.mark.parametrize("fault", ["hang", "stall", "truncate"])
def test_doctor_ends_although_the_server_does_not_answer(
    fault: str, folder: Path, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_server, "_LIMIT_S", 1.0)
    other.faults["/v1/completions"] = fault
    tokenizer = str(write_tokenizer(folder / "model"))
    started = time.monotonic()
    result = run("doctor", folder, "--engine-url", other.url, "--tokenizer", tokenizer)
    assert time.monotonic() - started < 15
    assert_refused(result, "See the lines marked")
    lines = lines_of(result)
    assert lines["completion"][0] == "no"
    assert len(lines["completion"][1]) > 20


def test_doctor_waits_for_no_model_that_loads(folder: Path, other: Server) -> None:
    other.faults["/v1/models"] = response(503, {"error": {"message": "Loading model"}})
    lines = lines_of(run("doctor", folder, "--engine-url", other.url))
    mark, detail = lines["address"]
    assert mark == "no"
    assert "not ready yet" in detail
    assert "Try again" in detail


def test_no_engine_of_this_machine_is_needed(folder: Path, serving: str) -> None:
    """Without a URL the same environment fails, so the tests above prove what they say."""
    assert run("complete", folder, "--model", "demo").exit_code == 1
    assert serving


def test_the_help_shows_no_token(folder: Path) -> None:
    text = run("doctor", folder, "--help", token=TOKEN).output
    assert TOKEN not in text
    assert TOKEN_VARIABLE in text


def test_every_option_is_shared() -> None:
    groups: list[Any] = [COMMANDS[name][0] for name in COMMANDS]
    for name in (*groups, "judge"):
        text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        for option in ("--engine-url", "--engine-token", "--tokenizer"):
            assert option in text

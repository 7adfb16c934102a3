"""The command line, as used by people and by editors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server import __version__
from lsp_server.cli.common import printable
from lsp_server.cli.complete import read_snapshot


def starcoder(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lsp_server", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
        check=False,
    )


def test_version() -> None:
    assert starcoder("--version").stdout.strip() == f"starcoder-lsp {__version__}"


def test_help_names_every_command() -> None:
    output = starcoder("--help").stdout
    for name in ("demo", "complete", "serve", "models", "doctor", "--stdio", "--tcp"):
        assert name in output


@pytest.mark.parametrize("arguments", [[], ["--stdio"], ["--stdio", "--clientProcessId=1"]])
def test_without_a_command_the_server_runs(arguments: list[str]) -> None:
    """Without input on stdin the server ends; it must not complain about its arguments."""
    process = starcoder(*arguments)
    assert "Usage" not in process.stderr
    assert process.stdout == ""


def test_text_of_others_gives_no_orders_to_the_terminal() -> None:
    mark = "\N{REPLACEMENT CHARACTER}"
    assert printable("a\x1b]0;\x07\x9b31m\tb\nc\r") == f"a{mark}]0;{mark}{mark}31m\tb\nc{mark}"
    process = starcoder("complete", "no\x1b[31m.py:1:1")
    assert f"no{mark}[31m.py cannot be read" in process.stderr


def test_two_transports_are_refused() -> None:
    process = starcoder("--stdio", "--tcp", "1234")
    assert process.returncode == 2
    assert "exclude" in process.stderr


def test_an_invalid_address_is_refused() -> None:
    assert "PORT" in starcoder("--tcp", "here").stderr


def test_serving_other_machines_requires_a_token() -> None:
    process = starcoder("serve", "--host", "0.0.0.0", "--port", "0")
    assert process.returncode == 1
    assert "token" in process.stderr


def test_models_prints_the_choice_of_auto_and_its_reason() -> None:
    output = starcoder("models").stdout
    assert "demo" in output
    assert "chosen" in output


def test_models_are_listed_for_programs(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "whole").symlink_to(tiny_checkpoint)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    listed = json.loads(starcoder("models", "--json", str(tmp_path)).stdout)
    by_name = {Path(model["name"]).name: model for model in listed}
    whole, broken = by_name["whole"], by_name["broken"]
    assert isinstance(whole["fim"], bool)
    assert whole["bytes"] > whole["parameters"] > 0
    assert whole["reason"]
    assert broken["reason"]
    assert set(broken) == {"name", "reason"}


@pytest.mark.usefixtures("own_engines")
def test_complete_prints_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "é.py"
    file.write_text("import os\n\n\ndef add(a, b):\n    return a + \n", encoding="utf-8")
    process = starcoder("complete", f"{file}:5:16", "--model", "demo")
    assert process.returncode == 0, process.stderr
    assert "return a + " in process.stdout
    assert re.search(r"\d+ ms", process.stdout)


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ("file.py", "FILE:LINE:COL"),
        ("a.py:-1:2", "'a.py:-1:2' is not a position"),
        ("nowhere.py:1:1", "cannot be read"),
        ("{file}:9:1", "there is no 9:1"),
        ("{file}:1:0", "there is no 1:0"),
        ("{binary}:1:1", "UTF-8"),
    ],
)
def test_an_invalid_position_is_reported(tmp_path: Path, position: str, words: str) -> None:
    file, binary = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("x\n")
    binary.write_bytes(b"\xff\xfe\x00")
    process = starcoder("complete", position.format(file=file, binary=binary))
    assert process.returncode == 1
    assert words in process.stderr
    assert "Traceback" not in process.stderr


def test_columns_count_characters_and_line_endings_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes("🎉 = 1\r\nb\r\n".encode())
    snapshot = read_snapshot(f"{file}:1:3")
    assert snapshot.before == "🎉 "
    assert snapshot.after == "= 1\r\nb\r\n"


@pytest.mark.usefixtures("own_engines")
def test_doctor_reports_a_missing_model(tmp_path: Path) -> None:
    process = starcoder("doctor", "--model", str(tmp_path / "nothing"))
    assert process.returncode == 1
    assert "There is no directory" in process.stdout
    assert "Traceback" not in process.stderr


@pytest.mark.usefixtures("own_engines")
def test_doctor_starts_a_model_for_chat_too(tiny_checkpoint: Path) -> None:
    process = starcoder("doctor", "--model", "demo", "--chat-model", str(tiny_checkpoint))
    lines = process.stdout.splitlines()
    (completions,) = [line for line in lines if line.startswith("ok  engine ")]
    (chat,) = [line for line in lines if line.startswith("ok  chat engine ")]
    assert "runs demo" in completions
    assert f"runs {tiny_checkpoint}" in chat


def test_models_prints_the_memory_of_a_model_for_chat(tiny_checkpoint: Path) -> None:
    output = starcoder("models", "--chat-model", str(tiny_checkpoint)).stdout
    assert re.search(rf"For chat: {tiny_checkpoint} needs \d+.* [KM]B, or \d+", output)
    process = starcoder("models", "--chat-model", "/nowhere")
    assert process.returncode == 1
    assert "no directory and no file /nowhere" in process.stderr


@pytest.mark.usefixtures("own_engines")
def test_the_demo_shows_suggestions_of_the_model() -> None:
    process = starcoder("demo", "--model", "demo")
    assert process.returncode == 0, process.stderr
    assert "embedded demo model" in process.stdout
    # A fast model answers before the last key, which then types part of the suggestion.
    sources = ("model", "joined", "typed through", "cache")
    assert sum(process.stdout.count(f"ms, {source}") for source in sources) >= 4

"""The command line, as a person and as an editor use it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server import __version__
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
    shown = starcoder("--help").stdout
    for command in ("demo", "complete", "serve", "models", "doctor", "--stdio", "--tcp"):
        assert command in shown


@pytest.mark.parametrize("arguments", [[], ["--stdio"], ["--stdio", "--clientProcessId=1"]])
def test_without_a_command_it_is_the_server(arguments: list[str]) -> None:
    """With nothing on stdin it ends; what it may not do is complain about its arguments."""
    done = starcoder(*arguments)
    assert "Usage" not in done.stderr
    assert done.stdout == ""


def test_two_transports_are_one_too_many() -> None:
    done = starcoder("--stdio", "--tcp", "1234")
    assert done.returncode == 2
    assert "exclude" in done.stderr


def test_an_address_that_is_none() -> None:
    assert "PORT" in starcoder("--tcp", "here").stderr


def test_serving_others_wants_a_token() -> None:
    done = starcoder("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 1
    assert "token" in done.stderr


def test_models_says_what_auto_takes_and_why() -> None:
    shown = starcoder("models").stdout
    assert "demo" in shown
    assert "chosen" in shown


@pytest.mark.usefixtures("own_engines")
def test_complete_writes_at_a_place(tmp_path: Path) -> None:
    file = tmp_path / "é.py"
    file.write_text("import os\n\n\ndef add(a, b):\n    return a + \n", encoding="utf-8")
    done = starcoder("complete", f"{file}:5:16", "--model", "demo")
    assert done.returncode == 0, done.stderr
    assert "return a + " in done.stdout
    assert re.search(r"\d+ ms", done.stdout)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("file.py", "FILE:LINE:COL"),
        ("nowhere.py:1:1", "cannot be read"),
        ("{file}:9:1", "there is no 9:1"),
        ("{file}:1:0", "there is no 1:0"),
        ("{binary}:1:1", "UTF-8"),
    ],
)
def test_a_place_that_is_none_is_told(tmp_path: Path, place: str, words: str) -> None:
    file, binary = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("x\n")
    binary.write_bytes(b"\xff\xfe\x00")
    done = starcoder("complete", place.format(file=file, binary=binary))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_columns_count_characters_and_line_ends_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes("🎉 = 1\r\nb\r\n".encode())
    snapshot = read_snapshot(f"{file}:1:3")
    assert snapshot.before == "🎉 "
    assert snapshot.after == "= 1\r\nb\r\n"


@pytest.mark.usefixtures("own_engines")
def test_doctor_says_what_to_do(tmp_path: Path) -> None:
    done = starcoder("doctor", "--model", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "There is no directory" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("own_engines")
def test_the_demo_shows_real_completions() -> None:
    done = starcoder("demo", "--model", "demo")
    assert done.returncode == 0, done.stderr
    assert "embedded demo model" in done.stdout
    # A fast enough model has answered before the last key: then that is typed along its answer.
    sources = ("model", "joined", "typed through", "cache")
    assert sum(done.stdout.count(f"ms, {source}") for source in sources) >= 4

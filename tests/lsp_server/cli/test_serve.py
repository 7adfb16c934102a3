"""`starcoder-lsp serve` as a process: its token, its socket and its errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from lsp_server.cli.token import choose_token, read_token


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lsp_server", "serve", "--port", "0", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1", **environment},
        check=False,
    )


def test_a_model_that_cannot_be_loaded_ends_the_process(tmp_path: Path) -> None:
    process = serve("--model", str(tmp_path))
    assert process.returncode == 1
    (line,) = [line for line in process.stderr.splitlines() if "error:" in line]
    assert "config.json" in line
    assert "Traceback" not in process.stderr


def test_an_ordinary_file_is_not_replaced_by_a_socket(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    process = serve("--model", "demo", "--uds", str(file))
    assert process.returncode == 1
    assert "not a socket" in process.stderr
    assert file.read_text() == "mine"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_no_folder_is_created_for_a_socket(tmp_path: Path) -> None:
    process = serve("--model", "demo", "--uds", str(tmp_path / "a" / "s"))
    assert process.returncode == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"secret", 0o644, "chmod 600"),
        (b"secret", 0o640, "chmod 600"),
        (b"", 0o600, "empty"),
        (b"\n", 0o600, "empty"),
        (b"two words\n", 0o600, "white space"),
        ("sécret".encode(), 0o600, "ASCII"),
        (b"\xff", 0o600, "text"),
        (b"x" * 5000, 0o600, "too long"),
    ],
)
def test_a_token_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, mode: int, message: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match=message):
        choose_token(None, file)


@pytest.mark.parametrize("content", [b"secret", b"secret\n", b"secret\r\n"])
def test_the_token_of_a_file_has_no_line_feed(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(0o600)
    assert read_token(file) == "secret"
    assert choose_token("other", file) == "secret"


def test_a_missing_token_file_ends_the_process(tmp_path: Path) -> None:
    process = serve("--host", "0.0.0.0", "--token-file", str(tmp_path / "none"))
    assert process.returncode == 1
    assert "cannot be read" in process.stderr


def test_an_empty_token_is_refused() -> None:
    process = serve("--token", "")
    assert process.returncode == 1
    assert "empty" in process.stderr
    assert choose_token(None, None) is None


def test_a_token_of_the_environment_is_used(tmp_path: Path) -> None:
    """With a token any address is allowed, so the error is that of the missing model."""
    process = serve("--host", "0.0.0.0", "--model", str(tmp_path), STARCODER_LSP_TOKEN="secret")
    assert "config.json" in process.stderr

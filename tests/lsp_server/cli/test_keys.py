"""`starcoder-lsp keys`, and `serve` with the keys that it creates."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.lsp_server.cli.runner import assert_plain, environment, run

BODY = {"prompt": "def f(", "max_tokens": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def create(path: Path, name: str, *options: str) -> str:
    process = run("keys", "create", name, "--keys", str(path), *options)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("\n") == 1
    assert process.stdout.strip() not in process.stderr
    return process.stdout.strip()


@contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[tuple[str, list[str]]]:
    """Run `serve` inside the block; yields its URL and, after the block, the lines of stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lsp_server", "serve", "--model=demo", "--port=0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if match := re.search(r"listening on (http://\S+)/v1", line):
                yield match[1], lines
                break
        else:
            pytest.fail("".join(lines))
    finally:
        process.terminate()
        lines += process.communicate(timeout=60)[1].splitlines()


def status(url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.post(f"{url}/v1/completions", json=BODY, headers=headers, timeout=120).status_code


def test_keys_are_created_listed_and_revoked(path: Path) -> None:
    key = create(path, "alice", "--tokens-per-minute", "200000", "--parallel-requests", "0")
    create(path, "bob")
    listed = run("keys", "list", "--keys", str(path))
    assert re.search(r"alice +\S+ +default +200,000 +no limit +default", listed.stdout)
    assert key not in listed.stdout + path.read_text()
    assert_plain(run("keys", "create", "bob", "--keys", str(path)), 1, "has a key already")
    assert_plain(run("keys", "create", "a b", "--keys", str(path)), 1, "Choose another name")
    assert run("keys", "revoke", "alice", "--keys", str(path)).returncode == 0
    assert_plain(run("keys", "revoke", "alice", "--keys", str(path)), 1, "no user of this name")
    assert "alice" not in run("keys", "list", variables={"STARCODER_LSP_KEYS": str(path)}).stdout


def test_without_a_file_the_users_own_one_is_used(tmp_path: Path) -> None:
    variables = {"XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path)}
    assert run("keys", "create", "alice", variables=variables).returncode == 0
    assert "alice" in run("keys", "list", variables=variables).stdout
    (file,) = tmp_path.rglob("keys.json")
    assert file.stat().st_mode & 0o777 == 0o600


def test_serve_takes_keys_until_they_are_revoked(path: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    alice, bob = create(path, "alice"), create(path, "bob", "--requests-per-minute", "1")
    arguments = ("--keys", str(path), "--host", "0.0.0.0", "--access-log", str(log))
    with serving(*arguments) as (url, lines):
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert status(url, alice) == 200
        assert [status(url, bob), status(url, bob)] == [200, 429]
        assert status(url, "wrong") == 401
        carol = create(path, "carol")
        assert run("keys", "revoke", "alice", "--keys", str(path)).returncode == 0
        deadline = time.monotonic() + 10
        while status(url, alice) == 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [status(url, key) for key in (alice, bob, carol)] == [401, 429, 200]
    text = log.read_text() + "".join(lines)
    assert not [key for key in (alice, bob, carol, "def f(") if key in text]
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    first = entries[0]
    assert (first["user"], first["route"], first["status"]) == ("alice", "/v1/completions", 200)
    assert first["end"] == "finished"
    assert first["completion_tokens"] == 3
    assert first["prompt_tokens"] > 0
    assert first["queue_s"] < first["first_token_s"] <= first["total_s"]
    assert "carol" in {entry["user"] for entry in entries}


def test_the_access_log_is_on_stderr_unless_it_is_off(path: Path) -> None:
    with serving() as (url, lines):
        assert status(url, "any") == 200
    (line,) = [line for line in lines if line.startswith("{")]
    assert json.loads(line)["user"] is None
    with serving("--access-log", "off") as (url, lines):
        assert status(url, "any") == 200
    assert not [line for line in lines if line.startswith("{")]


def test_options_limit_all_users(path: Path) -> None:
    alice, bob = create(path, "alice"), create(path, "bob", "--requests-per-minute", "0")
    options = ("--requests-per-minute", "1")
    with serving(*options, STARCODER_LSP_KEYS=str(path)) as (url, _):
        assert [status(url, alice), status(url, alice)] == [200, 429]
        assert [status(url, bob), status(url, bob)] == [200, 200]


@pytest.mark.parametrize("content", [None, b"{", b'{"version": 1, "keys": [{}]}'])
def test_serve_refuses_to_start_without_a_usable_file(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    process = run("serve", "--model=demo", "--port=0", "--keys", str(path))
    assert_plain(process, 1, "key file")

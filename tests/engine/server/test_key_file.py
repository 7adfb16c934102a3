"""The key file: private, complete after every change, and never with a key in it."""

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.server.users.accounts import Limits
from engine.server.users.key_file import (
    SHARED_USER,
    StoredLimits,
    create_key,
    hash_of,
    list_keys,
    revoke_key,
)

NO_LIMITS = StoredLimits()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_stored_as_its_hash(path: Path) -> None:
    key = create_key(path, "alice", StoredLimits(tokens_per_minute=5, parallel_requests=0))
    content = path.read_text()
    assert key not in content
    assert key.removeprefix("sk-starcoder-") not in content
    assert len(key) >= 13 + 43  # 32 random bytes
    (entry,) = list_keys(path)
    assert entry.sha256 == hash_of(key.encode())
    assert entry.limits.limits == Limits(None, 5, 0, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert create_key(path, "bob", NO_LIMITS) != key


def test_a_revoked_user_is_removed(path: Path) -> None:
    create_key(path, "alice", NO_LIMITS)
    create_key(path, "bob", NO_LIMITS)
    revoke_key(path, "alice")
    assert [entry.name for entry in list_keys(path)] == ["bob"]
    with pytest.raises(ConfigurationError, match="no user of this name"):
        revoke_key(path, "alice")


def test_a_name_is_used_once(path: Path) -> None:
    create_key(path, "alice", NO_LIMITS)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="has a key already"):
        create_key(path, "alice", NO_LIMITS)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a\nb", "-a", ".a", "a" * 65, "é", "a/b", 'a"', "a\n", "a\0", SHARED_USER],
)
def test_invalid_names_are_refused(path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="Choose another name"):
        create_key(path, name, NO_LIMITS)
    assert not path.exists()


def test_messages_contain_the_command_for_this_file(path: Path) -> None:
    create_key(path, "alice", NO_LIMITS)
    with pytest.raises(ConfigurationError) as in_use:
        create_key(path, "alice", NO_LIMITS)
    with pytest.raises(ConfigurationError) as unknown:
        revoke_key(path, "bob")
    for error in (in_use, unknown):
        assert error.value.user_message.endswith(f" --keys {path}")


@pytest.mark.parametrize("name", ["a", "A1", "alice@example.org", "a" * 64, "bob_2.x-y"])
def test_valid_names_are_accepted(path: Path, name: str) -> None:
    create_key(path, name, NO_LIMITS)
    assert list_keys(path)[0].name == name


def file_of(*keys: dict[str, object]) -> bytes:
    return json.dumps({"version": 1, "keys": keys}).encode()


def entry(**fields: object) -> dict[str, object]:
    base = {"name": "alice", "sha256": "0" * 64, "created": "2026-01-01T00:00:00Z"}
    return {**base, **fields}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 2, "keys": []}',
        b'{"version": 1, "keys": {}}',
        b'{"version": 1, "keys": [], "more": 1}',
        file_of(entry(), entry(sha256="1" * 64)),
        file_of(entry(), entry(name="bob")),
        file_of(entry(name="a\nb")),
        file_of(entry(name="a\n")),
        file_of(entry(sha256="0" * 63)),
        file_of(entry(sha256="0" * 64 + "\n")),
        file_of(entry(sha256=None)),
        file_of(entry(limits={"tokens_per_minute": -1})),
        file_of(entry(limits={"tokens_per_minute": "5"})),
        file_of(entry(limits={"tokens_per_minute": True})),
        file_of(entry(limits={"tokens": 5})),
        file_of(entry(limits={"body_bytes": 2**30})),
        file_of(entry(created="yesterday")),
        file_of({}),
    ],
)
def test_a_damaged_file_is_refused_and_not_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    for use in (
        lambda: list_keys(path),
        lambda: create_key(path, "carol", NO_LIMITS),
        lambda: revoke_key(path, "alice"),
    ):
        with pytest.raises(ConfigurationError, match=r"is damaged.*create the keys again"):
            use()
    assert path.read_bytes() == content


@pytest.mark.skipif(os.name != "posix", reason="needs modes of files")
@pytest.mark.parametrize(
    ("mode", "message"), [(0o644, "chmod 600"), (0o640, "chmod 600"), (0o622, "written by other")]
)
def test_a_file_that_others_may_use_is_refused(path: Path, mode: int, message: str) -> None:
    create_key(path, "alice", NO_LIMITS)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=message):
        list_keys(path)
    with pytest.raises(ConfigurationError, match=message):
        create_key(path, "bob", NO_LIMITS)


@pytest.mark.skipif(os.name != "posix", reason="needs links and FIFOs")
def test_only_an_ordinary_file_is_read(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    create_key(real, "alice", NO_LIMITS)
    path.symlink_to(real)
    with pytest.raises(ConfigurationError, match="is a link"):
        list_keys(path)
    with pytest.raises(ConfigurationError, match="is a link"):
        create_key(path, "bob", NO_LIMITS)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match="no ordinary file"):
        list_keys(path)


def test_a_missing_file_is_explained(path: Path) -> None:
    for use in (lambda: list_keys(path), lambda: revoke_key(path, "alice")):
        with pytest.raises(ConfigurationError, match="keys create NAME"):
            use()
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        create_key(tmp_path / "file" / "keys.json", "alice", NO_LIMITS)


def test_threads_and_processes_lose_no_entry(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.server.users.key_file import *\n"
        "for i in range(5): create_key(Path(sys.argv[1]), f'{sys.argv[2]}-{i}', StoredLimits())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), f"p{number}"])
        for number in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: create_key(path, f"t-{number}", NO_LIMITS), range(10)))
    assert [process.wait(60) for process in processes] == [0] * 4
    assert len(list_keys(path)) == 30
    names = sorted(os.listdir(path.parent))
    assert names in (["keys.json"], ["keys.json", "keys.json.lock"])

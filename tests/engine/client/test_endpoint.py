"""The runtime directory, lock and log: nothing that another user has planted is used."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.client.endpoint import RuntimeFiles, runtime_dir
from engine.client.managed import ManagedEngine
from engine.errors import EngineStartError
from engine.private_files import NotPrivateError, make_private_folder, open_private_file
from engine.settings import EngineSettings

SETTINGS = EngineSettings(model="demo")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder that all users share, and no runtime directory of this session."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("STARCODER_LSP_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("STARCODER_LSP_LOG_DIR", str(tmp_path / "log"))
    if not sys.platform.startswith("linux"):
        pytest.skip("optional: other systems have a runtime directory for each user")
    return folder


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    monkeypatch.setenv("STARCODER_LSP_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("STARCODER_LSP_LOG_DIR", str(tmp_path / "log"))
    return folder


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def own_folder(shared: Path) -> Path:
    return shared / f"starcoder-lsp-{os.getuid()}"


@pytest.mark.parametrize("umask", [0, 0o077, 0o277])
def test_the_runtime_directory_is_private_with_any_umask(shared: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = runtime_dir()
    finally:
        os.umask(before)
    assert folder == own_folder(shared)
    assert mode_of(folder) == 0o700


def test_an_own_directory_that_others_can_read_gets_private(shared: Path) -> None:
    own_folder(shared).mkdir()
    own_folder(shared).chmod(0o777)
    assert mode_of(runtime_dir()) == 0o700


def test_a_planted_link_is_not_followed_and_its_target_keeps_its_mode(
    shared: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    own_folder(shared).symlink_to(target)
    with pytest.raises(EngineStartError, match=r"is a link\. Set STARCODER_LSP_RUNTIME_DIR"):
        runtime_dir()
    assert mode_of(target) == 0o755
    assert list(target.iterdir()) == []


def test_a_dangling_link_creates_no_folder(shared: Path, tmp_path: Path) -> None:
    own_folder(shared).symlink_to(tmp_path / "nothing")
    with pytest.raises(EngineStartError, match="is a link"):
        runtime_dir()
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("plant", [Path.touch, os.mkfifo])
def test_a_planted_file_is_an_error(shared: Path, plant: Callable[[Path], None]) -> None:
    plant(own_folder(shared))
    with pytest.raises(EngineStartError, match=r"Set STARCODER_LSP_RUNTIME_DIR to a directory"):
        runtime_dir()


def test_a_planted_directory_is_not_used(shared: Path) -> None:
    own_folder(shared).mkdir(mode=0o777)
    give_away(own_folder(shared))
    with pytest.raises(EngineStartError, match="belongs to another user"):
        runtime_dir()


def give_away(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("optional: only root can give a file to another user")
    os.chown(path, 12345, 12345)


async def test_the_engine_reports_a_planted_link(shared: Path, tmp_path: Path) -> None:
    own_folder(shared).symlink_to(tmp_path)
    engine = ManagedEngine(SETTINGS)
    with pytest.raises(EngineStartError, match="is a link"):
        await engine.info()
    await engine.aclose()


ENDPOINTS: list[str | bytes] = [
    "",
    "{",
    "[]",
    "null",
    "[" * 100_000,
    json.dumps({"port": 80}),
    json.dumps({"port": "80", "token": "t"}),
    json.dumps({"port": 80, "token": None}),
    json.dumps({"port": 80, "token": ""}),
    json.dumps({"port": 0, "token": "t"}),
    json.dumps({"port": 65536, "token": "t"}),
    json.dumps({"port": -1, "token": "t"}),
    json.dumps({"port": True, "token": ["t"]}),
    json.dumps([{"port": 80, "token": "t"}]),
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("content", ENDPOINTS)
def test_a_damaged_address_file_is_like_none(runtime: Path, content: str | bytes) -> None:
    files = RuntimeFiles.for_settings(SETTINGS, unix=False)
    assert files.listen.endpoint_file is not None
    files.listen.endpoint_file.write_bytes(
        content.encode() if isinstance(content, str) else content
    )
    assert files.endpoint() is None


@pytest.mark.parametrize("plant", ["link", "fifo", "folder", "writable"])
def test_a_planted_address_file_is_like_none(runtime: Path, tmp_path: Path, plant: str) -> None:
    files = RuntimeFiles.for_settings(SETTINGS, unix=False)
    file = files.listen.endpoint_file
    assert file is not None
    good = tmp_path / "good.json"
    good.write_text(json.dumps({"port": 80, "token": "t"}))
    if plant == "link":
        file.symlink_to(good)
    elif plant == "fifo":
        os.mkfifo(file)
    elif plant == "folder":
        file.mkdir()
    else:
        good.rename(file)
        file.chmod(0o666)
    assert files.endpoint() is None


def test_a_good_address_file_is_read(runtime: Path) -> None:
    files = RuntimeFiles.for_settings(SETTINGS, unix=False)
    assert files.listen.endpoint_file is not None
    files.listen.endpoint_file.write_text(json.dumps({"port": 80, "token": "t"}))
    endpoint = files.endpoint()
    assert endpoint is not None
    assert (endpoint.url, endpoint.token) == ("http://127.0.0.1:80", "t")


def log_folder_is_a_file(log: Path) -> None:
    log.parent.rmdir()
    log.parent.write_text("")


def log_is_a_link(log: Path) -> None:
    log.symlink_to(log.parent.parent / "target")
    (log.parent.parent / "target").write_text("keep")


DAMAGED_LOGS: list[Callable[[Path], object]] = [
    log_folder_is_a_file,
    log_is_a_link,
    os.mkfifo,
    Path.mkdir,
]


@pytest.mark.parametrize("damage", DAMAGED_LOGS)
async def test_an_engine_starts_without_its_log_folder(
    own_engines: Path, damage: Callable[[Path], object]
) -> None:
    files = RuntimeFiles.for_settings(SETTINGS)
    files.log_file.parent.mkdir()
    damage(files.log_file)
    engine = ManagedEngine(SETTINGS)
    assert (await engine.info()).model == "demo"
    await engine.aclose()
    assert (own_engines / files.log_file.name).exists()
    target = files.log_file.parent.parent / "target"
    assert not target.exists() or target.read_text() == "keep"


async def test_an_engine_starts_without_any_log(own_engines: Path) -> None:
    files = RuntimeFiles.for_settings(SETTINGS)
    files.log_file.mkdir(parents=True)
    (own_engines / files.log_file.name).mkdir()
    engine = ManagedEngine(SETTINGS)
    assert (await engine.info()).model == "demo"
    await engine.aclose()


def test_a_long_log_is_emptied(runtime: Path) -> None:
    files = RuntimeFiles.for_settings(SETTINGS)
    for size, kept in ((2_000_001, 0), (2_000_000, 2_000_000)):
        files.log_file.parent.mkdir(exist_ok=True)
        files.log_file.write_bytes(bytes(size))
        output, path = files.open_log()
        output.close()
        assert path == files.log_file
        assert path.stat().st_size == kept


async def test_an_unusable_lock_is_an_error_that_names_it(own_engines: Path) -> None:
    files = RuntimeFiles.for_settings(SETTINGS)
    files.start_lock.mkdir()
    engine = ManagedEngine(SETTINGS)
    with pytest.raises(EngineStartError, match=r"lock file .* cannot be used"):
        await engine.info()
    await engine.aclose()


async def test_a_lock_is_no_link_that_empties_a_file(own_engines: Path, tmp_path: Path) -> None:
    files = RuntimeFiles.for_settings(SETTINGS)
    target = tmp_path / "precious"
    target.write_text("text")
    files.start_lock.symlink_to(target)
    engine = ManagedEngine(SETTINGS)
    with pytest.raises(EngineStartError, match=r"lock file .* cannot be used"):
        await engine.info()
    await engine.aclose()
    assert target.read_text() == "text"


async def test_an_ordinary_file_in_place_of_the_socket_is_kept(own_engines: Path) -> None:
    files = RuntimeFiles.for_settings(SETTINGS, unix=True)
    assert files.listen.uds is not None
    files.listen.uds.write_text("precious")
    engine = ManagedEngine(SETTINGS, unix=True)
    with pytest.raises(EngineStartError, match="exists and is not a socket"):
        await engine.info()
    await engine.aclose()
    assert files.listen.uds.read_text() == "precious"


def test_a_private_file_is_an_ordinary_file_of_this_user(tmp_path: Path) -> None:
    file = tmp_path / "file"
    os.close(open_private_file(file, os.O_CREAT | os.O_WRONLY))
    assert mode_of(file) == 0o600
    for mode in (0o620, 0o602):
        file.chmod(mode)
        with pytest.raises(NotPrivateError, match="can be written by other users"):
            open_private_file(file, os.O_RDONLY)
    with pytest.raises(NotPrivateError, match="is no ordinary file"):
        open_private_file(tmp_path, os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        open_private_file(tmp_path / "none", os.O_RDONLY)
    file.chmod(0o600)
    give_away(file)
    with pytest.raises(NotPrivateError, match="another user"):
        open_private_file(file, os.O_RDONLY)


def test_a_private_folder_reports_other_writers(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert not make_private_folder(folder)
    for mode, had_writers in ((0o755, False), (0o770, True), (0o702, True), (0o700, False)):
        folder.chmod(mode)
        assert make_private_folder(folder) is had_writers
        assert mode_of(folder) == 0o700

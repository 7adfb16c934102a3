"""The access log: a private file that may be rotated, or stderr."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.server.operation import access_log as module
from engine.server.operation.access_log import AccessLog, access_log
from engine.server.operation.request_record import EndReason, RequestRecord
from tests.engine.server.serving import until


def record(status: int = 200) -> RequestRecord:
    return RequestRecord("GET", "/health", status=status, end=EndReason.FINISHED)


def statuses(path: Path) -> list[int]:
    return [json.loads(line)["status"] for line in path.read_text().splitlines()]


def test_lines_are_appended_to_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for status in (200, 404):
        with access_log(path) as log:
            log.observe(record(status))
    assert statuses(path) == [200, 404]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_a_rotated_file_is_opened_again(tmp_path: Path, is_replaced: bool) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with access_log(path) as log:
        log.observe(record(200))
        await until(lambda: path.read_text() != "")
        path.rename(old)
        if is_replaced:
            path.touch(mode=0o600)
        log.observe(record(404))
        await until(lambda: path.exists() and path.read_text() != "")
    assert statuses(old) == [200]
    assert statuses(path) == [404]


@pytest.mark.skipif(os.name != "posix", reason="needs links and modes of files")
def test_a_file_of_others_is_refused(tmp_path: Path) -> None:
    target, link, shared = tmp_path / "t", tmp_path / "l", tmp_path / "s"
    target.touch()
    link.symlink_to(target)
    shared.touch()
    shared.chmod(0o666)
    for path in (link, shared, tmp_path, tmp_path / "none" / "x"):
        with pytest.raises(ConfigurationError, match="cannot be used"):
            AccessLog(path)
    assert target.read_text() == ""


@pytest.mark.skipif(os.name != "posix", reason="needs links")
async def test_a_link_in_place_of_a_rotated_file_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, target = tmp_path / "access.log", tmp_path / "target"
    target.touch()
    with access_log(path) as log:
        path.unlink()
        path.symlink_to(target)
        for _ in range(3):
            log.observe(record(200))
        await until(lambda: bool(caplog.records))
        await asyncio.sleep(0.1)
        path.unlink()
        log.observe(record(404))
        await until(path.exists)
    assert target.read_text() == ""
    assert statuses(path) == [404]
    assert [each.getMessage() for each in caplog.records] == [
        "the access log cannot be written: " + caplog.records[0].getMessage().partition(": ")[2]
    ]


async def test_a_full_queue_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_open", lambda path: os.open(path, os.O_WRONLY))
        log = AccessLog(path)
    for _ in range(2000):  # more than the pipe and the queue hold
        log.observe(record())
    while not caplog.records:
        await asyncio.sleep(0.01)
        os.read(reader, 1 << 20)
    os.close(reader)
    assert "lost" in caplog.records[0].getMessage()

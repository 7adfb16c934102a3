"""The access log: a private file that may be rotated, or stderr."""

import asyncio
import json
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from engine.api import Progress
from engine.errors import ConfigurationError
from engine.server.operation import access_log as module
from engine.server.operation.access_log import AccessLog, access_log, line_of
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


def test_a_line_has_the_sums_and_the_first_times_of_all_outputs() -> None:
    first = Progress(8, submitted=1.125, started=1.25, reused_rows=5, rows=10)
    second = Progress(8, submitted=1.125, started=9.0, reused_rows=1, rows=9)
    answered = RequestRecord(
        "POST", "/v1/completions", 1.0, None, 200, [first, second], first_token=1.375, ended=3.50004
    )
    line = json.loads(line_of(answered, datetime.now(UTC)))
    assert line["prompt_tokens"] == 16
    assert line["completion_tokens"] == 3
    assert line["reused_tokens"] == 6
    assert (line["queue_s"], line["first_token_s"], line["total_s"]) == (0.125, 0.375, 2.5)


def test_a_line_of_a_request_that_was_never_started_has_no_waiting_time() -> None:
    cancelled = RequestRecord("POST", "/v1/completions", outputs=[Progress(8)])
    line = json.loads(line_of(cancelled, datetime.now(UTC)))
    assert (line["queue_s"], line["first_token_s"], line["status"]) == (None, None, None)


def test_without_a_file_lines_are_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with access_log(None) as log:
        for status in (200, 404):
            log.observe(record(status))
    lines = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["status"] for line in lines] == [200, 404]


def test_a_line_is_complete_if_the_system_writes_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "access.log", os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:7]))
    with access_log(path) as log:
        log.observe(record(200))
    assert statuses(path) == [200]


def test_closing_the_log_ends_its_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with access_log(tmp_path / "access.log") as log:
        log.observe(record(200))
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_a_rotated_file_is_opened_again(tmp_path: Path, is_replaced: bool) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with access_log(path) as log:
        log.observe(record(200))
        await until(lambda: path.read_text() != "")
        num_files = psutil.Process().num_fds()
        path.rename(old)
        if is_replaced:
            path.touch(mode=0o600)
        log.observe(record(404))
        await until(lambda: path.exists() and path.read_text() != "")
        assert psutil.Process().num_fds() == num_files
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
        for number in (1, 2):  # each outage is reported once
            path.unlink()
            path.symlink_to(target)
            for _ in range(3):
                log.observe(record(200))
            await until(lambda number=number: len(caplog.records) == number)  # type: ignore[misc]
            await asyncio.sleep(0.1)
            path.unlink()
            log.observe(record(404))
            await until(lambda: path.exists() and path.read_text() != "")
    assert target.read_text() == ""
    assert statuses(path) == [404]
    messages = [each.getMessage() for each in caplog.records]
    assert len(messages) == 2
    assert all(each.startswith("the access log cannot be written: ") for each in messages)


@contextmanager
def blocked_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AccessLog, int]]:
    """A log with space for two lines that wait, and the other end of its pipe, which is full."""
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(256))
    os.close(writer)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_open", lambda path: os.open(path, os.O_WRONLY))
        log = AccessLog(path)
    try:
        yield log, reader
    finally:
        os.close(reader)


async def test_a_full_queue_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = b""

    def num_accounted_for() -> int:
        nonlocal written
        with suppress(BlockingIOError):
            written += os.read(reader, 1 << 20)
        lost = re.findall(r"lost (\d+) lines", caplog.text)
        return written.count(b"\n") + sum(int(number) for number in lost)

    with blocked_log(tmp_path / "fifo", monkeypatch) as (log, reader):
        for _ in range(20):
            log.observe(record())
        assert not caplog.records
        # Each line is written, or reported once as lost.
        await until(lambda: num_accounted_for() == 20)
        log.observe(record())
        log.close()
        assert num_accounted_for() == 21
    assert 3 <= written.count(b"\n") <= 5


async def test_a_disk_that_hangs_does_not_keep_the_log_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with blocked_log(tmp_path / "fifo", monkeypatch) as (log, _):
        for _ in range(20):
            log.observe(record())
            await asyncio.sleep(0.01)  # the thread takes the first one
        closing = threading.Thread(target=log.close, daemon=True)
        closing.start()
        await until(lambda: not closing.is_alive())

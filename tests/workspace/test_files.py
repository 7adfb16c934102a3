"""Only regular files of a folder are read; nothing else is even opened."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from workspace.files import (
    TooLargeError,
    UnreadableFileError,
    leaves_folder,
    read_bytes,
    read_text,
    regular_file_stat,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.py").write_bytes("ä = 1\r\n".encode())
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("password = 1\n")
    return folder


def _link_out(root: Path) -> Path:
    (root / "x.py").symlink_to("../outside/secret.py")
    return root / "x.py"


def _folder_link_out(root: Path) -> Path:
    (root / "linked").symlink_to("../outside")
    return root / "linked" / "secret.py"


def _dots(root: Path) -> Path:
    return root / "inner" / ".." / ".." / "outside" / "secret.py"


def _fifo(root: Path) -> Path:
    os.mkfifo(root / "x.py")
    return root / "x.py"


def _socket(root: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "x.py"))
    return root / "x.py"


def _device(root: Path) -> Path:
    (root / "x.py").symlink_to("/dev/zero")
    return root / "x.py"


def _endless(root: Path) -> Path:
    (root / "x.py").symlink_to("/proc/kmsg")
    return root / "x.py"


def _folder(root: Path) -> Path:
    (root / "x.py").mkdir()
    return root / "x.py"


def _loop(root: Path) -> Path:
    (root / "x.py").symlink_to("x.py")
    return root / "x.py"


def _null_character(root: Path) -> Path:
    return root / "x\0.py"


REFUSED = [
    _link_out,
    _folder_link_out,
    _dots,
    _fifo,
    _socket,
    _device,
    _endless,
    _folder,
    _loop,
    _null_character,
]


@pytest.mark.parametrize("plant", REFUSED)
def test_what_is_no_regular_file_of_the_folder_is_not_read(
    root: Path, plant: Callable[[Path], Path]
) -> None:
    file = plant(root)
    with pytest.raises(OSError):
        read_bytes(file, 1000, inside=root)
    assert regular_file_stat(file, inside=root) is None


@pytest.mark.parametrize("plant", [_fifo, _socket, _device, _folder])
def test_special_files_are_refused_without_a_folder_too(
    root: Path, plant: Callable[[Path], Path]
) -> None:
    with pytest.raises(UnreadableFileError):
        read_bytes(plant(root), 1000)


def test_a_fifo_is_not_even_opened(root: Path) -> None:
    """A writer of a FIFO blocks until someone opens it for reading."""
    fifo = _fifo(root)
    opened = threading.Event()

    def write() -> None:
        os.close(os.open(fifo, os.O_WRONLY))
        opened.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for inside in (root, None):
        with pytest.raises(UnreadableFileError):
            read_bytes(fifo, 1000, inside=inside)
    assert not opened.wait(0.3)
    os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    writer.join()


def test_regular_files_and_links_within_the_folder_are_read(root: Path) -> None:
    (root / "link.py").symlink_to("inner/a.py")
    for file in (root / "inner" / "a.py", root / "link.py"):
        assert read_text(file, 1000, inside=root) == "ä = 1\n"
        assert read_text(file, 1000) == "ä = 1\n"
        status = regular_file_stat(file, inside=root)
        assert status is not None
        assert status.st_size == 8


def test_line_endings_become_line_feeds_in_text_only(root: Path) -> None:
    file = root / "x.py"
    file.write_bytes(b"a\r\nb\rc\n")
    assert read_text(file, 100) == "a\nb\nc\n"
    assert read_bytes(file, 100) == b"a\r\nb\rc\n"


def test_a_folder_that_is_itself_a_link_is_read(root: Path) -> None:
    link = root.parent / "workspace"
    link.symlink_to(root)
    assert read_text(link / "inner" / "a.py", 1000, inside=link) == "ä = 1\n"


def test_without_a_folder_links_are_followed(root: Path) -> None:
    assert read_text(_link_out(root), 1000) == "password = 1\n"


def test_the_limit_counts_what_is_read_and_not_what_the_system_reports(root: Path) -> None:
    file = root / "inner" / "a.py"
    assert len(read_bytes(file, 8, inside=root)) == 8
    with pytest.raises(TooLargeError):
        read_bytes(file, 7, inside=root)
    with pytest.raises(TooLargeError):  # the system reports 0 bytes
        read_bytes(Path("/proc/self/status"), 10)


def test_text_that_is_not_utf8_is_refused(root: Path) -> None:
    (root / "x.py").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(root / "x.py", 10, inside=root)


def test_a_folder_exchanged_for_a_link_during_the_read_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange happens after the path was resolved, which is the weakest moment."""
    file = root / "inner" / "a.py"
    outside = root.parent / "outside"
    (outside / "a.py").write_text("password = 1\n")
    real = os.path.realpath

    def exchange(path: object, *, strict: bool = False) -> str:
        result = real(str(path), strict=strict)
        if strict:
            (root / "inner").rename(root / "moved")
            (root / "inner").symlink_to(outside)
        return result

    monkeypatch.setattr(os.path, "realpath", exchange)
    with pytest.raises(OSError):
        read_bytes(file, 1000, inside=root)


def test_a_path_that_leaves_the_folder(root: Path) -> None:
    (root / "linked").symlink_to("../outside")
    assert leaves_folder(root / "linked" / "test_new.py", root)
    assert leaves_folder(root / ".." / "test_new.py", root)
    assert not leaves_folder(root / "tests" / "test_new.py", root)

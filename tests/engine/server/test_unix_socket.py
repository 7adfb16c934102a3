"""`serve --uds` replaces the socket of a killed process, and nothing else."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def serve(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lsp_server", "serve", "--model", "demo", "--uds", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def link(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    path.symlink_to(target)


PLANTS: list[Callable[[Path], object]] = [
    lambda path: path.write_text("precious"),
    link,
    os.mkfifo,
    Path.mkdir,
]


@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_no_socket_is_kept(tmp_path: Path, plant: Callable[[Path], object]) -> None:
    path = tmp_path / "engine.sock"
    plant(path)
    before = os.lstat(path)
    done = serve(path)
    assert done.returncode != 0
    assert "is not a socket" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.lstat(path).st_ino == before.st_ino


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = serve(tmp_path / "file" / "engine.sock")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "cannot be used: Not a directory. Create it first." in done.stderr


def test_the_socket_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    command = [sys.executable, "-m", "lsp_server", "serve", "--model", "demo", "--uds", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(path)) == 0:
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"the process ended with {process.wait(0.1)}")
        pytest.fail("nothing listens")
    finally:
        process.kill()
        process.wait()

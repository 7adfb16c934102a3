"""Engines of these tests live in a runtime directory of their own and end with it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def own_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let engines meet where no other test does; those that run at the end are killed."""
    runtime = tmp_path / "run"
    monkeypatch.setenv("STARCODER_LSP_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("STARCODER_LSP_LOG_DIR", str(tmp_path / "log"))
    yield
    for process in psutil.process_iter(["cmdline"]):
        if any(str(runtime) in part for part in process.info["cmdline"] or ()):
            os.kill(process.pid, signal.SIGKILL)

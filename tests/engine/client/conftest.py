from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.remote_server import Server, running, write_tokenizer


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of an engine at a URL that suit tests."""
    monkeypatch.setattr("engine.client.remote_watch.CHECK_S", 0.1)
    monkeypatch.setattr("engine.client.remote_watch._LOADING_S", 0.05)
    monkeypatch.setattr("engine.client.remote_watch._LEAST_S", 0.05)
    monkeypatch.setattr("engine.client.output_check._OUTPUT_S", 0.5)
    monkeypatch.setattr("engine.client.remote_health.LIMIT_S", 0.5)
    monkeypatch.setattr("engine.client.remote_health._PATIENCE_S", 0.1)
    monkeypatch.setattr("engine.client.retry.FIRST_S", 0.1)
    monkeypatch.setattr("engine.client.retry.LONGEST_S", 0.4)
    monkeypatch.setattr("engine.client.http._STALL_S", 0.5)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "model")

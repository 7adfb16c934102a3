"""The server counts suggestions unless the settings say otherwise."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from lsp_server.session.statistics import read
from tests.e2e.client import scripted, start


def events_in(file: Path) -> dict[str, int]:
    try:
        return {event: number for count in read(file) for event, number in count.events.items()}
    except sqlite3.OperationalError:  # the table does not exist yet
        return {}


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_the_server_counts_only_if_statistics_are_enabled(
    tmp_path: Path, is_enabled: bool
) -> None:
    file = tmp_path / "stats.sqlite3"
    environment = {"STARCODER_LSP_STATISTICS": str(file)}
    settings = {"statistics": is_enabled}
    async with start(scripted("1 + 1"), settings=settings, environment=environment) as editor:
        editor.open("x = ")
        answer: Any = await asyncio.wrap_future(editor.request_completion(4))
        command = answer.items[0].command
        params = types.ExecuteCommandParams(command.command, command.arguments)
        await editor.client.workspace_execute_command_async(params)
        expected = {"shown": 1, "accepted": 1} if is_enabled else {}
        deadline = time.monotonic() + (20 if is_enabled else 0.5)
        while events_in(file) != expected or (not is_enabled and time.monotonic() < deadline):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    assert file.exists() is is_enabled

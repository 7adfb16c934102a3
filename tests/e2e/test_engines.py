"""Engine processes as a user meets them: one per model, gone when unneeded, listed and stopped."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from engine.loading.on_disk import EMBEDDED_DIR
from tests.conftest import OPTIONAL
from tests.e2e.client import SERVER, Editor, start

pytestmark = pytest.mark.usefixtures("own_engines")

DEMO = {"model": "demo"}


async def set_settings(editor: Editor, settings: dict[str, Any]) -> None:
    params = types.DidChangeConfigurationParams(settings)
    editor.client.workspace_did_change_configuration(params)
    await asyncio.sleep(0.2)


def without_pull(capabilities: types.ClientCapabilities) -> None:
    assert capabilities.workspace is not None
    capabilities.workspace.configuration = None


async def engine_pid(editor: Editor) -> int:
    pid = (await editor.request("starcoder/debugInfo"))["engine"]["pid"]
    assert isinstance(pid, int)
    return pid


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_ended(pid: int, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while is_running(pid):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def until_engine_is_not(editor: Editor, pid: int | None) -> int:
    """Wait until the session has another engine that is ready; return its process id."""
    async with asyncio.timeout(60):
        while True:
            engine = (await editor.request("starcoder/debugInfo"))["engine"]
            if engine["pid"] not in (None, pid) and engine["state"] == "ready":
                return int(engine["pid"])
            await asyncio.sleep(0.05)


def cli(*arguments: str, columns: int = 80, **environment: str) -> tuple[int, str, str]:
    """Run a command; return its status, output and messages."""
    process = subprocess.run(
        [*SERVER, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": str(columns), **environment},
        timeout=60,
    )
    return process.returncode, process.stdout, process.stderr


async def test_an_engine_ends_when_its_only_editor_chooses_another_model(
    tiny_checkpoint: Path,
) -> None:
    settings = {"model": str(tiny_checkpoint)}
    async with start(settings=settings, change_capabilities=without_pull) as editor:
        await editor.wait_for_state("ready")
        old = await engine_pid(editor)
        await set_settings(editor, DEMO)
        await until_ended(old)
        new = await until_engine_is_not(editor, old)
        assert [each["pid"] for each in await editor.request("starcoder/engines")] == [new]
    assert is_running(new)  # closing the editor ends no engine


async def test_an_engine_with_another_editor_stays(tiny_checkpoint: Path) -> None:
    settings = {"model": str(tiny_checkpoint)}
    async with (
        start(settings=settings, change_capabilities=without_pull) as changing,
        start(settings=settings) as staying,
    ):
        await asyncio.gather(changing.wait_for_state("ready"), staying.wait_for_state("ready"))
        shared = await engine_pid(staying)
        await set_settings(changing, DEMO)
        await until_engine_is_not(changing, shared)
        await asyncio.sleep(1.0)
        assert await engine_pid(staying) == shared
        clients = {
            each["pid"]: each["clients"] for each in await staying.request("starcoder/engines")
        }
        assert clients[shared] == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "auto"},
        {"model": str(EMBEDDED_DIR)},
        {"model": "demo", "idleTimeoutSeconds": 77},
        {"model": "demo", "offline": True},
        {"model": "auto", "offline": True, "idleTimeoutSeconds": 77, "revision": "main"},
    ],
)
async def test_settings_that_mean_the_same_model_keep_the_engine(changed: dict[str, Any]) -> None:
    async with start(settings=DEMO, change_capabilities=without_pull) as editor:
        await editor.wait_for_state("ready")
        pid = await engine_pid(editor)
        del editor.statuses[:]
        await set_settings(editor, changed)
        idle_timeout = changed.get("idleTimeoutSeconds", 1800)
        expected = {"pid": pid, "current": True, "clients": 1, "idleTimeoutSeconds": idle_timeout}
        engines: list[dict[str, Any]] = []
        async with asyncio.timeout(60):
            # A process that was started for `auto` ends when it has seen the other one.
            while not (len(engines) == 1 and expected.items() <= engines[0].items()):
                await asyncio.sleep(0.5)
                engines = await editor.request("starcoder/engines")
        assert await engine_pid(editor) == pid
        assert "error" not in [status["state"] for status in editor.statuses]


async def test_a_model_that_chat_needs_now_keeps_its_engine(tiny_checkpoint: Path) -> None:
    async with start(settings=DEMO, change_capabilities=without_pull) as editor:
        await editor.wait_for_state("ready")
        pid = await engine_pid(editor)
        await set_settings(editor, {"model": str(tiny_checkpoint), "chatModel": "demo"})
        await until_engine_is_not(editor, pid)
        await asyncio.sleep(1.0)
        assert is_running(pid)


async def test_the_requests_list_and_stop_engines() -> None:
    async with start(settings=DEMO) as editor:
        await editor.wait_for_state("ready")
        pid = await engine_pid(editor)
        (engine,) = await editor.request("starcoder/engines")
        assert engine["memoryBytes"] > 50_000_000
        assert engine["gpuMemoryBytes"] >= 0
        assert Path(engine["address"]).is_socket()
        assert 0 <= engine["idleSeconds"] < 60
        expected = {"pid": pid, "model": "demo", "state": "ready", "detail": "", "current": True}
        assert expected.items() <= engine.items()
        for wrong in (os.getpid(), os.getppid(), 999_999_999):
            with pytest.raises(JsonRpcException, match=f"process id {wrong}"):
                await editor.request("starcoder/stopEngine", {"pid": wrong})
        for wrong_type in (0, -pid, str(pid), None):
            with pytest.raises(JsonRpcException, match="'pid'"):
                await editor.request("starcoder/stopEngine", {"pid": wrong_type})
        assert is_running(pid)
        assert await editor.request("starcoder/stopEngine", {"pid": pid}) == {"stopped": True}
        assert not is_running(pid)
        assert await editor.request("starcoder/engines") == []
        # The next request starts it again.
        editor.open("for item in items:\n    print(item)\n\nfor item in ite")
        await editor.suggestion(len(editor.text), invoked=True)
        assert await until_engine_is_not(editor, pid) != pid


async def test_the_command_lists_and_stops_engines(tiny_checkpoint: Path) -> None:
    assert cli("engines") == (0, "No engine is running.\n", "")
    assert cli("engines", "--stop") == (0, "No engine is running.\n", "")
    async with (
        start(settings=DEMO) as editor,
        start(settings={"model": str(tiny_checkpoint)}) as other,
    ):
        await asyncio.gather(editor.wait_for_state("ready"), other.wait_for_state("ready"))
        pids = [await engine_pid(each) for each in (editor, other)]
        status, output, _ = await asyncio.to_thread(cli, "engines")
        assert status == 0
        for pid in pids:
            assert f"process {pid}, " in output
        assert "demo on cpu in float32" in output
        assert "1 client\n" in output
        assert "exits after 30 min" in output
        assert len(re.findall(r"engine-[0-9a-f]{12}\.sock$", output, re.M)) == 2
        # A path may be long; all other lines fit.
        lines = [line for line in output.splitlines() if "/" not in line]
        assert max(map(len, lines)) <= 80
        status, _, message = await asyncio.to_thread(cli, "engines", "--stop")
        assert status == 1
        assert "2 engines are running" in message
        for wrong in ("nothing", str(os.getpid())):
            status, _, message = await asyncio.to_thread(cli, "engines", "--stop", wrong)
            assert status == 1
            assert wrong in message
        assert all(map(is_running, pids))
        by_path = await asyncio.to_thread(cli, "engines", str(EMBEDDED_DIR), "--stop")
        assert by_path == (0, f"Stopped demo (process {pids[0]}).\n", "")
        assert [is_running(pid) for pid in pids] == [False, True]
        status, output, _ = await asyncio.to_thread(cli, "engines", "--stop", str(pids[1]))
        assert status == 0
        assert not is_running(pids[1])


async def test_engines_of_another_user_are_not_touched(own_engines: Path, tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip(f"{OPTIONAL}needs root to become another user")
    async with start(settings=DEMO) as editor:
        await editor.wait_for_state("ready")
        pid = await engine_pid(editor)
        script = (
            # The other user may not be able to read the modules: the first run imports them.
            "import contextlib, os, sys; from lsp_server.cli.app import main; "
            "variable = 'STARCODER_LSP_RUNTIME_DIR'; shared = os.environ[variable]; "
            "os.environ[variable] = sys.argv[1]; sys.argv = ['starcoder-lsp', 'engines', '1'];\n"
            "with contextlib.suppress(SystemExit): main()\n"
            "os.environ[variable] = shared; "
            "os.setgroups([]); os.setgid(65534); os.setuid(65534); "
            "sys.argv = ['starcoder-lsp', 'engines', '--stop', 'all']; main()"
        )
        for folder in (own_engines, *own_engines.parents[:3]):
            folder.chmod(0o755)
        own_engines.chmod(0o777)
        other_home = tmp_path / "other"
        other_home.mkdir()
        os.chown(other_home, 65534, 65534)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", script, str(tmp_path / "first")),
            stderr=subprocess.PIPE,
            env={**os.environ, "HOME": str(other_home)},
        )
        _, message = await process.communicate()
        assert process.returncode == 1
        assert b"belongs to another user" in message
        assert b"Traceback" not in message
        assert is_running(pid)

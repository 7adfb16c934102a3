"""docs/uninstall.md lists every place to which the program writes."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest
from platformdirs.api import PlatformDirsABC
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows

from engine.client.endpoint import runtime_dir
from tests.e2e.client import ROOT, SERVER, start

DOCUMENT = (ROOT / "docs" / "uninstall.md").read_text(encoding="utf-8")
SYSTEMS = ("Linux", "macOS", "Windows")

APP = "starcoder-lsp"


def places(system: str) -> list[str]:
    """Return the places in the column of a system."""
    column = 2 + SYSTEMS.index(system)
    rows = [line.split("|") for line in DOCUMENT.splitlines() if line.count("|") == 5]
    return [place for row in rows for place in re.findall(r"`([^`]+)`", row[column])]


def folders(dirs: PlatformDirsABC) -> set[str]:
    return {dirs.user_data_dir, dirs.user_cache_dir, dirs.user_log_dir}


def test_the_places_are_those_of_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = str(Path.home())
    unix = {folder.replace(home, "~") for folder in folders(Unix(APP))}
    assert {folder.removesuffix("/log") for folder in unix} <= set(places("Linux"))
    macos = folders(MacOS(APP)) | {MacOS(APP).user_runtime_dir}
    assert {folder.replace(home, "~") for folder in macos} <= set(places("macOS"))
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda _: "%LOCALAPPDATA%")
    windows = folders(Windows(APP)) | {Windows(APP).user_runtime_dir}
    assert {folder.replace("/", "\\") for folder in windows} <= set(places("Windows"))
    if sys.platform.startswith("linux"):
        monkeypatch.delenv("STARCODER_LSP_RUNTIME_DIR", raising=False)
        with tempfile.TemporaryDirectory(dir="/tmp") as short:  # a socket's path is limited
            monkeypatch.setenv("XDG_RUNTIME_DIR", short)
            session = str(runtime_dir()).replace(short, "$XDG_RUNTIME_DIR")
        monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
        without = str(runtime_dir()).replace(tempfile.gettempdir(), "/tmp")
        assert {session, without.replace(str(os.getuid()), "UID")} <= set(places("Linux"))


def test_every_variable_that_moves_a_place_is_listed() -> None:
    text = "".join(
        file.read_text(encoding="utf-8")
        for package in ("engine", "chat", "lsp_server", "fim", "workspace")
        for file in (ROOT / package).rglob("*.py")
    )
    used = set(re.findall(r"STARCODER_LSP_[A-Z_]+", text))
    values = ("MODEL", "CHAT_MODEL", "TOKEN", "JUDGE_TOKEN", "ENGINE_TOKEN", "KEYS", "TRACEBACK")
    no_places = {f"STARCODER_LSP_{name}" for name in values}
    assert used - no_places == set(re.findall(r"STARCODER_LSP_[A-Z_]+", DOCUMENT))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="optional: checks Linux's places")
async def test_a_session_writes_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # The paths of sockets must be short.
    with tempfile.TemporaryDirectory() as temporary:
        await _check_places(home, Path(temporary), monkeypatch)


async def _check_places(home: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("STARCODER_LSP_", "XDG_"))]:
        monkeypatch.delenv(name)
    # Without a compiler, because compiling the kernels takes minutes.
    environment = {"HOME": str(home), "TMPDIR": str(temporary), "PATH": ""}
    async with start(settings={"model": "demo"}, environment=environment) as editor:
        await editor.wait_for_state("ready")
        editor.open("for item in items:\n    print(item)\n\nfor item in ite")
        await editor.suggestion(len(editor.text), invoked=True)
        conversation = (await editor.request("starcoder/chat/create"))["id"]
        await editor.request("starcoder/chat/send", {"conversation": conversation, "text": "hi"})
    stopping = await asyncio.create_subprocess_exec(
        *(*SERVER, "engines", "--stop", "all"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await stopping.communicate()
    assert b"Stopped demo" in output
    listed = [place.replace("~", str(home)) for place in places("Linux")]
    listed += [str(temporary / f"{APP}-{os.getuid()}")]  # the document names /tmp
    written = [path for top in (home, temporary) for path in top.rglob("*") if path.is_file()]
    assert {path.name for path in written} >= {"chats.sqlite3", "stats.sqlite3"}
    assert any(path.suffix == ".log" for path in written)
    for path in written:
        assert any(str(path).startswith(f"{place}/") for place in listed), path
    assert list(home.rglob("*.sock")) + list(temporary.rglob("*.sock")) == []

"""A real Neovim with our plugin, driven over RPC."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvim

from tests.e2e.client import SERVER
from tests.editors.conftest import INSTALLED

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "editors" / "neovim"
GHOSTS = {"0.12": "nvim.lsp.inline_completion", "0.10": "starcoder.ghost"}

INIT = """
vim.o.swapfile = false
vim.o.shadafile = 'NONE'
vim.opt.runtimepath:prepend({plugin})
_G.said = {{}}
vim.notify = function(message) table.insert(_G.said, message) end
require('starcoder').setup(vim.json.decode({options}))
"""


class Neovim:
    """One of them."""

    def __init__(self, version: str, client: pynvim.Nvim) -> None:
        self.version, self.client = version, client

    def lua(self, code: str, *arguments: Any) -> Any:
        return self.client.exec_lua(code, *arguments)

    @property
    def text(self) -> str:
        return "\n".join(self.client.current.buffer[:])

    @property
    def said(self) -> list[str]:
        """What vim.notify showed."""
        return list(self.lua("return _G.said"))

    def until(self, holds: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := holds():
                return found
            time.sleep(0.03)
        messages = self.client.command_output("messages")
        raise AssertionError(f"{what}: not within {seconds} s; said {self.said}; {messages}")

    def attached(self) -> None:
        """Wait until the server has answered `initialize`."""
        code = "local c = vim.lsp.get_clients({bufnr = 0})[1]; return c and c.initialized or false"
        self.until(lambda: self.lua(code), "the server is attached")

    def ghost(self) -> str:
        """Text in grey, empty for none."""
        marks = self.lua(
            "local id = vim.api.nvim_get_namespaces()[...];"
            "return id and vim.api.nvim_buf_get_extmarks(0, id, 0, -1, {details = true}) or {}",
            GHOSTS[self.version],
        )
        lines = []
        for _, _, _, details in marks:
            lines.append("".join(text for text, *_ in details.get("virt_text", [])))
            for line in details.get("virt_lines", []):
                lines.append("".join(text for text, *_ in line))
        return "\n".join(lines)

    def shown(self) -> str:
        return str(self.until(self.ghost, "ghost text"))

    def type(self, keys: str) -> None:
        for key in keys:
            self.client.input("<lt>" if key == "<" else key)

    def keys(self, keys: str) -> None:
        self.client.input(keys)

    def buffer(self, name: str) -> str:
        """Text of the buffer whose name ends so."""
        for one in self.client.buffers:
            if one.name.endswith(name):
                return "\n".join(one[:])
        return ""


@contextmanager
def neovim(
    version: str,
    file: Path,
    *,
    server: list[str] = SERVER,
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Iterator[Neovim]:
    """Run a Neovim on a file until the block ends."""
    program = INSTALLED / f"nvim-{version}" / "run"
    given = {"cmd": server, "settings": settings or {}, **(options or {})}
    init = file.parent / "init.lua"
    text = INIT.format(plugin=json.dumps(str(PLUGIN)), options=f"[====[{json.dumps(given)}]====]")
    init.write_text(text, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        argv = [str(program), "--embed", "--headless", "--clean", "-u", str(init), str(file)]
        client = pynvim.attach("child", argv=argv)
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before
    try:
        yield Neovim(version, client)
    finally:
        client.command("qa!", async_=True)
        time.sleep(0.1)
        client.close()


PYTHON = sys.executable

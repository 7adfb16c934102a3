"""Runs a real Neovim with our plugin and drives it over RPC."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynvim
import pytest

from tests.e2e.client import SERVER
from tests.editors.conftest import INSTALLED

# pynvim closes its event loop without closing the transports, and uses asyncio's child watcher.
NEOVIM_MARKS = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*child_watcher:DeprecationWarning"),
    pytest.mark.usefixtures("collect_transports"),
]

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "editors" / "neovim"
GHOST_TEXT_NAMESPACES = {"0.12": "nvim.lsp.inline_completion", "0.10": "starcoder.ghost"}

INIT = """
vim.o.swapfile = false
vim.o.shadafile = 'NONE'
vim.opt.runtimepath:prepend({plugin})
_G.messages = {{}}
vim.notify = function(message) table.insert(_G.messages, message) end
require('starcoder').setup(vim.json.decode({options}))
"""


class Neovim:
    """A running Neovim."""

    def __init__(self, version: str, client: pynvim.Nvim) -> None:
        self.version, self.client = version, client

    def lua(self, code: str, *arguments: Any) -> Any:
        return self.client.exec_lua(code, *arguments)

    @property
    def text(self) -> str:
        return "\n".join(self.client.current.buffer[:])

    @property
    def messages(self) -> list[str]:
        """The messages passed to `vim.notify`."""
        return list(self.lua("return _G.messages"))

    def wait_until(
        self, condition: Callable[[], Any], description: str, seconds: float = 30.0
    ) -> Any:
        """Wait until a condition holds and return its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.03)
        raise AssertionError(f"{description}: not within {seconds} s; {self.state()}")

    def state(self) -> str:
        """Return what may explain why something did not happen."""
        status = self.lua("return vim.inspect(require('starcoder.status').current)")
        clients = self.lua(
            "return vim.inspect(vim.tbl_map(function(client) return {client.id, client.initialized,"
            "client.attached_buffers} end, vim.lsp.get_clients({_uninitialized = true})))"
        )
        output = self.client.command_output("messages")
        log = Path(self.lua("return require('vim.lsp.log').get_filename()"))
        end = log.read_text(errors="replace")[-2000:] if log.exists() else ""
        return f"messages {self.messages}; {output}; {status}; {clients}; log: {end}"

    def wait_for_server(self) -> None:
        """Wait until the server has answered `initialize`."""
        code = "local c = vim.lsp.get_clients({bufnr = 0})[1]; return c and c.initialized or false"
        self.wait_until(lambda: self.lua(code), "the server is attached")

    def client_id(self) -> int | None:
        """Return the id of the initialized client of the current buffer."""
        code = "local c = vim.lsp.get_clients({bufnr = 0})[1]; return c and c.id"
        identifier = self.lua(code)
        return None if identifier is None else int(identifier)

    def num_clients(self) -> int:
        """Return the number of clients, of which each has a server."""
        return int(self.lua("return #vim.lsp.get_clients({_uninitialized = true})"))

    def restart_server(self) -> None:
        """Restart the server and wait until the new one has answered `initialize`."""
        before = self.client_id()
        self.client.command("Starcoder restart")
        self.wait_until(lambda: self.client_id() not in (before, None), "another server")

    def ghost_text(self) -> str:
        """Return the visible ghost text, empty if there is none."""
        marks = self.lua(
            "local id = vim.api.nvim_get_namespaces()[...];"
            "return id and vim.api.nvim_buf_get_extmarks(0, id, 0, -1, {details = true}) or {}",
            GHOST_TEXT_NAMESPACES[self.version],
        )
        lines = []
        for _, _, _, details in marks:
            lines.append("".join(text for text, *_ in details.get("virt_text", [])))
            for line in details.get("virt_lines", []):
                lines.append("".join(text for text, *_ in line))
        return "\n".join(lines)

    def wait_for_ghost_text(self) -> str:
        return str(self.wait_until(self.ghost_text, "ghost text"))

    def type(self, keys: str) -> None:
        for key in keys:
            self.client.input("<lt>" if key == "<" else key)

    def keys(self, keys: str) -> None:
        self.client.input(keys)

    def engine_requests(self) -> list[str]:
        """Return the texts of the requests to the scripted engine so far."""
        result = self.lua(
            "local client = vim.lsp.get_clients({name = 'starcoder'})[1];"
            "local buffer = next(client.attached_buffers);"
            "local answers = vim.lsp.buf_request_sync(buffer, 'test/requests', {}, 5000);"
            "return answers[client.id].result.texts"
        )
        return list(result)

    def option(self, name: str, window: int = 0) -> Any:
        """Return an option of a window."""
        return self.client.api.get_option_value(name, {"win": window})

    def window_of(self, buffer_name: str) -> int:
        """Return the window of a buffer; -1 if there is none."""
        return int(self.client.funcs.bufwinid(buffer_name))

    def buffer_text(self, name: str) -> str:
        """Return the text of the buffer whose name ends with `name`, empty if there is none."""
        for buffer in self.client.buffers:
            if buffer.name.endswith(name):
                return "\n".join(buffer[:])
        return ""


@contextmanager
def neovim(
    version: str,
    file: Path,
    *,
    server: list[str] = SERVER,
    settings: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    arguments: Sequence[str] | None = None,
) -> Iterator[Neovim]:
    """Run a Neovim on a file, or with other arguments, until the block ends.

    Generated tests are not run unless the settings say so.
    """
    program = INSTALLED / f"nvim-{version}" / "run"
    all_options = {
        "cmd": server,
        "settings": {"runTests": "never", **(settings or {})},
        **(options or {}),
    }
    init = Path(tempfile.mkdtemp(prefix="neovim-")) / "init.lua"
    lua_string = f"[====[{json.dumps(all_options)}]====]"
    text = INIT.format(plugin=json.dumps(str(PLUGIN)), options=lua_string)
    init.write_text(text, encoding="utf-8")
    previous = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        argv = [str(program), "--embed", "--headless", "--clean", "-u", str(init)]
        argv += [str(file)] if arguments is None else arguments
        client = pynvim.attach("child", argv=argv)
    finally:
        os.environ.pop("PYTHONPATH")
        if previous is not None:
            os.environ["PYTHONPATH"] = previous
    try:
        yield Neovim(version, client)
    finally:
        client.command("qa!", async_=True)
        time.sleep(0.1)
        client.close()
        shutil.rmtree(init.parent)

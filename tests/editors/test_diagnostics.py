"""The editors send what other tools report, and the server uses it."""

import sys
from pathlib import Path

import pytest

from tests.e2e.client import scripted
from tests.editors.neovim import NEOVIM_MARKS, neovim
from tests.editors.vscode import open_at_end, vscode, wait_until_ready

pytestmark = NEOVIM_MARKS

SETTINGS = {"relatedFiles": "always", "eagerness": "eager", "debounceMs": 0}
REPORT = """
local message = ...
vim.diagnostic.set(vim.api.nvim_create_namespace('linter'), 0, {
  { lnum = 0, col = 7, message = message, severity = vim.diagnostic.severity.WARN },
})
"""
JSON = '{\n  "a": 1,\n  "a": 2,\n  "b": 3,\n  "c": 4,\n  "d": 5,\n}\n'


def folder(path: Path) -> Path:
    workspace = path / "Jörg's [new] + project"
    (workspace / ".git").mkdir(parents=True)
    return workspace


def test_neovim_sends_them_whenever_they_change(version: str, tmp_path: Path) -> None:
    file = folder(tmp_path) / "example.py"
    file.write_text("import oven\n\n\n\n")
    with neovim(version, file, server=scripted("1\n"), settings=SETTINGS) as editor:
        editor.wait_for_server()
        editor.lua(REPORT, "'oven' is unused")
        editor.keys("Go")
        editor.type("x = ")
        editor.wait_for_ghost_text()
        expected = "<filename>problems.txt\nexample.py:1: 'oven' is unused\n"
        assert expected in editor.engine_requests()[-1]
        editor.keys("<Esc>")
        editor.lua("vim.diagnostic.reset()")
        editor.keys("40o<Esc>Go")  # elsewhere, the text for the prompt is chosen again
        editor.type("y = ")
        editor.wait_until(lambda: "y =" in editor.engine_requests()[-1], "the request")
        assert "problems.txt" not in editor.engine_requests()[-1]


def test_neovim_sends_those_from_before_the_server_started(version: str, tmp_path: Path) -> None:
    file = folder(tmp_path) / "example.py"
    file.write_text("import oven\n\n\n\n")
    with neovim(version, file, server=scripted("1\n"), settings=SETTINGS) as editor:
        editor.wait_for_server()
        editor.lua(REPORT, "'oven' is unused")
        editor.restart_server()
        editor.keys("Go")
        editor.type("x = ")
        editor.wait_for_ghost_text()
        assert "'oven' is unused" in editor.engine_requests()[-1]


@pytest.mark.usefixtures("vscode_installed")
def test_vscode_sends_them(tmp_path: Path) -> None:
    server = [sys.executable, "-m", "tests.editors.diagnostics_server", "Duplicate object key"]
    with vscode(tmp_path, {"a.json": JSON}, SETTINGS, server) as window:
        open_at_end(window, "a.json")
        wait_until_ready(window)
        problems = window.page.locator('.statusbar-item[id*="problems"]').first
        window.wait_until(lambda: problems.inner_text().split()[-1] != "0", "VS Code reports it")
        window.press("ArrowUp")
        window.press("ArrowUp")
        window.press("End")
        window.press("Enter")
        window.type('"e": ')
        assert window.wait_for_ghost_text().startswith("true")

"""Tests with real Emacs and Helix, which have no ghost text: completion list and code actions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import SERVER, scripted
from tests.editors.conftest import require_editor
from tests.editors.terminal import Terminal, terminal

ROOT = Path(__file__).parents[2]
CODE = "def add(a, b):\n    return a + b\n"
INCOMPLETE_CODE = "def mean(numbers):\n    return sum("
TEST_ANSWER = "():\n    assert add(1, 2) == 3\n"
EXPECTED_TEST = "from example import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}

EMACS = """
(setq make-backup-files nil auto-save-default nil ring-bell-function #'ignore)
(setq-default eglot-workspace-configuration '(:starcoder {settings}))
(with-eval-after-load 'eglot
  (add-to-list 'eglot-server-programs '((python-mode python-ts-mode) . ({command}))))
(add-hook 'python-mode-hook #'eglot-ensure)
"""
HELIX = """
[language-server.starcoder]
command = {program}
args = {arguments}
config = {settings}
timeout = 60

[[language]]
name = "python"
language-servers = ["starcoder"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "example.py").write_text(CODE)
    return path


def plist(settings: dict[str, Any]) -> str:
    """Return settings as a property list of Emacs Lisp."""
    booleans = {False: ":json-false", True: "t"}
    pairs = (
        f":{name} {booleans[value] if isinstance(value, bool) else json.dumps(value)}"
        for name, value in settings.items()
    )
    return f"({' '.join(pairs)})"


@contextmanager
def emacs(
    folder: Path, server: Sequence[str], settings: dict[str, Any] | None = None
) -> Iterator[Terminal]:
    """Run Emacs on example.py until the `with` block ends, and wait for the server."""
    program = require_editor("emacs")
    init = folder.parent / "init.el"
    command = " ".join(json.dumps(argument) for argument in server)
    init.write_text(EMACS.format(command=command, settings=plist(settings or {"model": "auto"})))
    environment = {"HOME": str(folder.parent), "PYTHONPATH": str(ROOT)}
    argv = [str(program), "-nw", "-Q", "-l", str(init), "example.py"]
    with terminal(argv, folder, environment) as editor:
        editor.wait_for_text("[eglot:")
        editor.wait_for_text("Connected!")
        yield editor


@contextmanager
def helix(
    folder: Path, server: Sequence[str], settings: dict[str, Any] | None = None
) -> Iterator[Terminal]:
    """Run Helix on example.py until the `with` block ends."""
    program = require_editor("helix")
    config = folder.parent / "helix"
    config.mkdir()
    inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in (settings or {}).items())
    text = HELIX.format(
        program=json.dumps(server[0]), arguments=json.dumps(server[1:]), settings=f"{{{inline}}}"
    )
    (config / "languages.toml").write_text(text)
    environment = {
        "XDG_CONFIG_HOME": str(folder.parent),
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    with terminal([str(program), "example.py"], folder, environment) as editor:
        editor.wait_for_text("NOR")
        yield editor


def wait_until_saved(editor: Terminal, file: Path, text: str) -> None:
    editor.wait_until(lambda: file.exists() and file.read_text() == text, f"{file.name} is saved")


def test_emacs_completes(folder: Path) -> None:
    with emacs(folder, scripted("total + 1\n")) as editor:
        editor.keys("\x1b>x = ")
        editor.wait_for_text("x =")
        editor.keys("\x1b\t")
        editor.wait_for_text("x = total + 1")
        editor.keys("\x18\x13")
        wait_until_saved(editor, folder / "example.py", CODE + "x = total + 1\n")


def test_emacs_completes_a_half_typed_word(folder: Path) -> None:
    with emacs(folder, scripted("tal + größe\n")) as editor:
        editor.keys("\x1b>s = '🎉'; to")
        editor.wait_for_text("; to")
        editor.keys("\x1b\t")
        editor.wait_for_text("total + größe")
        editor.keys("\x18\x13")
        wait_until_saved(editor, folder / "example.py", CODE + "s = '🎉'; total + größe\n")


def test_emacs_writes_a_test(folder: Path) -> None:
    with emacs(folder, scripted(TEST_ANSWER), {"runTests": "never"}) as editor:
        editor.keys("\x1bxeglot-code-actions\r")
        editor.wait_for_text("Pick an action")
        editor.keys("Write tests for add\r")
        editor.wait_for_text("(y or n)")
        editor.keys("y")
        editor.wait_for_text("Edit successful")
        editor.keys("\x18s!")  # save all
        wait_until_saved(editor, folder / "tests" / "test_example.py", EXPECTED_TEST)


def test_helix_completes(folder: Path) -> None:
    with helix(folder, scripted("total + 1\n")) as editor:
        editor.keys("geox = ")
        editor.wait_for_text("x =")
        request_until_listed(editor, "total + 1")
        editor.keys("\t\r")
        editor.wait_for_text("x = total + 1")
        editor.keys("\x1b")
        editor.wait(0.3)
        editor.keys(":w\r")
        wait_until_saved(editor, folder / "example.py", CODE + "    x = total + 1\n")


def test_helix_writes_a_test(folder: Path) -> None:
    with helix(folder, scripted(TEST_ANSWER), {"runTests": "never"}) as editor:
        editor.wait_until(lambda: open_code_actions(editor), "code actions")
        editor.keys("\r")
        test_file = folder / "tests" / "test_example.py"
        editor.wait_until(test_file.exists, "the file is created")
        editor.keys(":wa\r")
        wait_until_saved(editor, test_file, EXPECTED_TEST)


def open_code_actions(editor: Terminal) -> bool:
    """Open the code actions in Helix. Returns false while the server is not running yet."""
    for keys in ("\x1b", "gg", " a"):
        editor.keys(keys)
        editor.wait(0.3)
    return "Write tests for add" in editor.text


def request_until_listed(editor: Terminal, item: str) -> None:
    """Request the completion list in Helix until the server runs and the list has the item."""

    def is_listed() -> bool:
        editor.keys("\x18")
        editor.wait(1.0)
        return item in editor.text

    editor.wait_until(is_listed, f"{item!r} is in the list", 120)


@pytest.mark.usefixtures("own_engines")
def test_emacs_with_the_demo_model(folder: Path) -> None:
    (folder / "example.py").write_text(INCOMPLETE_CODE)
    with emacs(folder, SERVER, DEMO) as editor:
        editor.keys("\x1b>\x1b\t")
        editor.wait_until(
            lambda: re.search(r"return sum\(\S", editor.text), "the line is completed", 120
        )
        editor.keys("\x18\x13")
        editor.wait_until(
            lambda: (folder / "example.py").read_text() != INCOMPLETE_CODE, "it is saved"
        )


@pytest.mark.usefixtures("own_engines")
def test_helix_with_the_demo_model(folder: Path) -> None:
    (folder / "example.py").write_text(INCOMPLETE_CODE)
    with helix(folder, SERVER, DEMO) as editor:
        editor.keys("geA")
        request_until_listed(editor, "snippet")
        editor.keys("\t\r")
        editor.wait_until(
            lambda: re.search(r"return sum\(\S", editor.text), "the line is completed"
        )
        editor.keys("\x1b")
        editor.wait(0.3)
        editor.keys(":w\r")
        editor.wait_until(
            lambda: (folder / "example.py").read_text() != INCOMPLETE_CODE, "it is saved"
        )

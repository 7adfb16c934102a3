"""Real Emacs and real Helix, which know no ghost text: the completion list and code actions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import SERVER, scripted
from tests.editors.conftest import needed
from tests.editors.terminal import Terminal, terminal

ROOT = Path(__file__).parents[2]
CODE = "def add(a, b):\n    return a + b\n"
BEGUN = "def mean(numbers):\n    return sum("
A_TEST = "():\n    assert add(1, 2) == 3\n"
WRITTEN = "from example import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
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
    made = tmp_path / "work"
    made.mkdir()
    (made / "example.py").write_text(CODE)
    return made


def plist(settings: dict[str, Any]) -> str:
    """Settings as Emacs Lisp writes them."""
    words = {False: ":json-false", True: "t"}
    pairs = (
        f":{name} {words[value] if isinstance(value, bool) else json.dumps(value)}"
        for name, value in settings.items()
    )
    return f"({' '.join(pairs)})"


@contextmanager
def emacs(
    folder: Path, server: Sequence[str], settings: dict[str, Any] | None = None
) -> Iterator[Terminal]:
    """Run Emacs on example.py until the block ends, and wait for the server."""
    program = needed("emacs")
    init = folder.parent / "init.el"
    command = " ".join(json.dumps(one) for one in server)
    init.write_text(EMACS.format(command=command, settings=plist(settings or {"model": "auto"})))
    environment = {"HOME": str(folder.parent), "PYTHONPATH": str(ROOT)}
    argv = [str(program), "-nw", "-Q", "-l", str(init), "example.py"]
    with terminal(argv, folder, environment) as editor:
        editor.sees("[eglot:")
        editor.sees("Connected!")
        yield editor


@contextmanager
def helix(
    folder: Path, server: Sequence[str], settings: dict[str, Any] | None = None
) -> Iterator[Terminal]:
    """Run Helix on example.py until the block ends."""
    program = needed("helix")
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
        editor.sees("NOR")
        yield editor


def saved(editor: Terminal, file: Path, text: str) -> None:
    editor.until(lambda: file.exists() and file.read_text() == text, f"{file.name} is saved")


def test_emacs_completes(folder: Path) -> None:
    with emacs(folder, scripted("total + 1\n")) as editor:
        editor.keys("\x1b>x = ")
        editor.sees("x =")
        editor.keys("\x1b\t")
        editor.sees("x = total + 1")
        editor.keys("\x18\x13")
        saved(editor, folder / "example.py", CODE + "x = total + 1\n")


def test_emacs_completes_a_half_typed_word(folder: Path) -> None:
    with emacs(folder, scripted("tal + größe\n")) as editor:
        editor.keys("\x1b>s = '🎉'; to")
        editor.sees("; to")
        editor.keys("\x1b\t")
        editor.sees("total + größe")
        editor.keys("\x18\x13")
        saved(editor, folder / "example.py", CODE + "s = '🎉'; total + größe\n")


def test_emacs_writes_a_test(folder: Path) -> None:
    with emacs(folder, scripted(A_TEST)) as editor:
        editor.keys("\x1bxeglot-code-actions\r")
        editor.sees("Pick an action")
        editor.keys("Write tests for add\r")
        editor.sees("(y or n)")
        editor.keys("y")
        editor.sees("Edit successful")
        editor.keys("\x18s!")  # save all
        saved(editor, folder / "tests" / "test_example.py", WRITTEN)


def test_helix_completes(folder: Path) -> None:
    with helix(folder, scripted("total + 1\n")) as editor:
        editor.keys("geox = ")
        editor.sees("x =")
        asked_until_there(editor, "total + 1")
        editor.keys("\t\r")
        editor.sees("x = total + 1")
        editor.keys("\x1b")
        editor.wait(0.3)
        editor.keys(":w\r")
        saved(editor, folder / "example.py", CODE + "    x = total + 1\n")


def test_helix_writes_a_test(folder: Path) -> None:
    with helix(folder, scripted(A_TEST)) as editor:
        editor.until(lambda: actions(editor), "code actions")
        editor.keys("\r")
        made = folder / "tests" / "test_example.py"
        editor.until(made.exists, "the file is made")
        editor.keys(":wa\r")
        saved(editor, made, WRITTEN)


def actions(editor: Terminal) -> bool:
    """Ask Helix for code actions; it has none before the server is there."""
    for keys in ("\x1b", "gg", " a"):
        editor.keys(keys)
        editor.wait(0.3)
    return "Write tests for add" in editor.text


def asked_until_there(editor: Terminal, item: str) -> None:
    """Ask Helix for the list; it has none before the server is there."""

    def there() -> bool:
        editor.keys("\x18")
        editor.wait(1.0)
        return item in editor.text

    editor.until(there, f"{item!r} is in the list", 120)


@pytest.mark.usefixtures("own_engines")
def test_emacs_with_the_demo_model(folder: Path) -> None:
    (folder / "example.py").write_text(BEGUN)
    with emacs(folder, SERVER, DEMO) as editor:
        editor.keys("\x1b>\x1b\t")
        editor.until(lambda: re.search(r"return sum\(\S", editor.text), "it is written on", 120)
        editor.keys("\x18\x13")
        editor.until(lambda: (folder / "example.py").read_text() != BEGUN, "it is saved")


@pytest.mark.usefixtures("own_engines")
def test_helix_with_the_demo_model(folder: Path) -> None:
    (folder / "example.py").write_text(BEGUN)
    with helix(folder, SERVER, DEMO) as editor:
        editor.keys("geA")
        asked_until_there(editor, "snippet")
        editor.keys("\t\r")
        editor.until(lambda: re.search(r"return sum\(\S", editor.text), "it is written on")
        editor.keys("\x1b")
        editor.wait(0.3)
        editor.keys(":w\r")
        editor.until(lambda: (folder / "example.py").read_text() != BEGUN, "it is saved")

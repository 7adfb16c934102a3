"""Real VS Code with the packaged extension: typed into, clicked, looked at."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from tests.e2e.client import SERVER, scripted
from tests.editors.conftest import skip
from tests.editors.vscode import VSCode, missing, vscode

CODE = "def add(a, b):\n    return a + b\n"
DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}
NOTEBOOK = {
    "nbformat": 4, "nbformat_minor": 5,
    "metadata": {"language_info": {"name": "python"}},
    "cells": [{"cell_type": "code", "execution_count": None, "id": "a", "metadata": {},
               "outputs": [], "source": ["import os\n", "x = "]}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def installed() -> None:
    if reason := missing():
        skip(f"{reason}; `make test-editors` puts it there")


def ready(window: VSCode, model: str = "scripted") -> None:
    window.until(lambda: model in window.status, "the server is ready", 120)


def end_of(window: VSCode, name: str) -> None:
    window.open(name)
    window.press("Control+End")


def test_ghost_text_is_taken_whole_and_by_the_word(tmp_path: Path) -> None:
    server = scripted("first(second) + third\n")
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, server) as window:
        end_of(window, "a.py")
        ready(window)
        window.type("x = ")
        assert window.shown() == "first(second) + third"
        window.picture("ghost")
        window.press("Control+ArrowRight")
        window.until(lambda: "x = first" in window.lines(), "a word is taken")
        window.press("Tab")
        window.until(lambda: "x = first(second) + third" in window.lines(), "all is taken")

        window.press("Enter")
        window.type("y = ")
        window.shown()
        window.press("Escape")
        window.until(lambda: not window.ghost(), "it is away")
        assert "y = " in window.lines()


def test_off_for_the_language_from_the_menu(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, scripted("third\n")) as window:
        end_of(window, "a.py")
        ready(window)
        window.run("StarCoder: Menu")
        window.choose("Turn off for python")
        written = tmp_path / "data/User/settings.json"
        window.until(lambda: "disabledLanguages" in written.read_text(), "the setting is written")
        end_of(window, "a.py")
        window.type("x = ")
        window.page.wait_for_timeout(1500)
        assert window.ghost() == ""
        window.run("StarCoder: Menu")
        window.choose("Turn on for python")
        window.until(lambda: json.loads(written.read_text())["starcoder.disabledLanguages"] == [],
                     "the setting is taken back")  # fmt: skip
        end_of(window, "a.py")
        window.type("1\ny = ")
        window.shown()


def test_the_chat_streams_about_the_selection(tmp_path: Path) -> None:
    answer = "It *adds*.\n\n```python\nadd(1, 2)\n```\n<img src=x onerror=alert(1)> Done."
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted(answer, 0.02)) as window:
        window.open("a.py")
        ready(window)
        window.press("Control+a")
        window.run("StarCoder: Ask About the Selection")
        box = window.chat.locator("#input")
        box.wait_for()
        chip = window.chat.locator("#chips .chip")
        window.until(chip.count, "a chip")
        assert "a.py:1-2" in chip.inner_text()
        assert "tokens" in chip.inner_text()
        box.fill("What is this?")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.until(lambda: body.count() and "It adds" in body.inner_text(), "it begins")
        assert "Done." not in body.inner_text()  # it came in pieces
        assert window.chat.locator("#stop").is_visible()
        window.until(lambda: "Done." in body.inner_text(), "it ends")
        window.until(lambda: window.chat.locator("#send").is_visible(), "one may ask again")
        assert window.chat.locator(".assistant em").inner_text() == "adds"
        assert window.chat.locator(".assistant img").count() == 0
        assert window.chat.locator("pre .hljs-number").count() == 2
        assert "a.py:1-2" in window.chat.locator(".user .chip").inner_text()
        window.picture("chat")

        end_of_file(window)
        window.chat.locator(".code-bar button", has_text="Insert").click()
        window.until(lambda: "add(1, 2)" in window.lines(), "the code is in the file")

        window.page.reload()
        window.open_chat()
        kept = window.chat.locator(".assistant .body")
        window.until(lambda: kept.count() and "Done." in kept.inner_text(), "it survives a reload")
        window.chat.locator("#history").click()
        window.until(
            lambda: "What is this?" in window.chat.locator("#past").inner_text(), "history"
        )


def end_of_file(window: VSCode) -> None:
    window.page.locator(".monaco-editor .view-lines").first.click()
    window.press("Control+End")


def test_an_answer_is_stopped_and_asked_again(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted("abcdefgh " * 60, 0.02)) as window:
        window.open("a.py")
        ready(window)
        box = window.open_chat()
        box.fill("/explain")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.until(lambda: body.count() and "abc" in body.inner_text(), "it begins")
        window.chat.locator("#stop").click()
        ending = window.chat.locator(".ending")
        window.until(lambda: ending.count() and "stopped" in ending.inner_text(), "it is stopped")
        window.chat.locator("#retry").click()
        window.until(lambda: window.chat.locator("#stop").is_visible(), "it answers again")
        assert window.chat.locator(".user").count() == 1


def test_tests_are_previewed_and_accepted(tmp_path: Path) -> None:
    answer = "():\n    assert add(1, 2) == 3\n"
    with vscode(tmp_path, {"shop.py": CODE}, {}, scripted(answer)) as window:
        end_of(window, "shop.py")
        ready(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        toast = window.page.locator(".notification-toast", has_text="Create a file with a test")
        toast.first.wait_for(timeout=60_000)
        window.until(lambda: any("assert add(1, 2) == 3" in one for one in window.diff()), "a diff")
        window.picture("tests")
        made = window.workspace / "tests" / "test_shop.py"
        assert not made.exists()
        toast.locator("a.monaco-button", has_text="Accept").click()
        window.until(made.exists, "the file is made")
        window.until(lambda: "    assert add(1, 2) == 3" in window.lines(), "it is shown")


def test_a_fix_is_discarded_and_accepted(tmp_path: Path) -> None:
    server = scripted("return b + a\n```")
    with vscode(tmp_path, {"shop.py": CODE}, {}, server) as window:
        end_of(window, "shop.py")
        ready(window)
        for button, expected in (("Discard", "    return a + b"), ("Accept", "    return b + a")):
            end_of(window, "shop.py")
            window.press("ArrowUp")
            window.press("Shift+End")
            window.run("StarCoder: Edit by Instruction")
            window.page.locator(".quick-input-widget input").first.fill("Turn them round.")
            window.press("Enter")
            action = window.page.locator(f'.editor-actions [aria-label^="{button}"]').first
            action.click(timeout=60_000)
            window.until(lambda e=expected: e in window.lines(), f"after {button}")


def test_a_server_that_is_missing_is_told_with_a_button(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, ["/no/such/server"]) as window:
        window.open("a.py")
        toast = window.page.locator(".notification-toast", has_text="could not be started")
        toast.first.wait_for(timeout=60_000)
        assert toast.locator("a.monaco-button", has_text="Open Log").count()


def test_a_server_that_ends_at_once_is_no_spinner(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, ["/bin/false"]) as window:
        window.open("a.py")
        warning = window.page.locator('.statusbar-item[id*="starcoder"].warning-kind')
        window.until(warning.count, "the status bar warns")


@pytest.mark.usefixtures("own_engines")
def test_the_demo_model_and_its_death(tmp_path: Path) -> None:
    """The real server and engine: ghost text, kill -9, and ghost text again."""
    with vscode(tmp_path, {"a.py": CODE}, DEMO, SERVER) as window:
        end_of(window, "a.py")
        ready(window, "demo model")
        window.type("def mean(numbers):\nreturn sum(")
        shown = window.shown()
        window.picture("demo-model")
        window.press("Tab")
        window.until(lambda: any(shown[:4] in line for line in window.lines()), "it is taken")

        engines = [
            process
            for process in psutil.process_iter(["cmdline"])
            if "engine" in (process.info["cmdline"] or [])
            and str(tmp_path) in " ".join(process.info["cmdline"])
        ]
        assert len(engines) == 1
        engines[0].send_signal(signal.SIGKILL)
        window.press("Control+End")
        window.press("Enter")
        window.press("Enter")
        window.type("import ")
        window.until(window.ghost, "ghost text after the engine was killed", 90)
        ready(window, "demo model")


def test_a_notebooks_cell(tmp_path: Path) -> None:
    with vscode(tmp_path, {"n.ipynb": json.dumps(NOTEBOOK)}, {}, scripted("third + 1\n")) as window:
        # Opened before the extensions are there, a notebook is shown as the JSON that it is.
        ready(window)
        entry = window.page.locator('.explorer-folders-view [aria-label^="n.ipynb"]')
        entry.dblclick(timeout=60_000)
        # An editor is made for a cell only when it is wanted: until then there is its text alone.
        row = window.page.locator(".notebookOverlay .code-cell-row").first
        window.until(row.count, "the notebook's cell")
        row.locator(".cell-editor-container, .cell-editor-part").first.click(timeout=60_000)
        window.press("Enter")
        editor = row.locator(".monaco-editor")
        window.until(editor.count, "the cell's editor")
        editor.first.click()
        window.press("Control+End")
        window.type("os.")
        assert window.shown() == "third + 1"
        window.picture("notebook")
        window.press("Tab")
        window.until(lambda: not window.ghost(), "it is taken")


@pytest.mark.usefixtures("own_engines")
def test_the_demo_model_chats_and_writes_a_test(tmp_path: Path) -> None:
    code = "def is_even(n):\n    return n % 2 == 0\n"
    with vscode(tmp_path, {"numbers.py": code}, DEMO, SERVER) as window:
        window.open("numbers.py")
        ready(window, "demo model")
        window.press("Control+a")
        window.run("StarCoder: Ask About the Selection")
        box = window.chat.locator("#input")
        box.wait_for()
        box.fill("/explain")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.until(lambda: body.count() and body.inner_text().strip(), "it answers")
        window.until(lambda: window.chat.locator("#send").is_visible(), "it has answered")
        window.picture("demo-chat")
        end_of_file(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        toast = window.page.locator(".notification-toast", has_text="is_even")
        toast.first.wait_for(timeout=90_000)
        window.picture("demo-tests")

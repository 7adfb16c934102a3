"""Tests with real VS Code and the packaged extension: ghost text, tasks, the demo model."""

import json
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.client import SERVER, scripted
from tests.editors.vscode import CODE, open_at_end, vscode, wait_until_ready

pytestmark = pytest.mark.usefixtures("vscode_installed")

DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}
OFF = '.statusbar-item[id*="starcoder"] .codicon-circle-slash'
NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"language_info": {"name": "python"}},
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a",
            "metadata": {},
            "outputs": [],
            "source": ["import os\n", "x = "],
        }
    ],
}


def test_ghost_text_is_accepted_by_word_and_as_a_whole(tmp_path: Path) -> None:
    server = scripted("first(second) + third\n")
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, server) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window)
        window.type("x = ")
        assert window.wait_for_ghost_text() == "first(second) + third"
        window.save_picture("ghost")
        window.press("Control+ArrowRight")
        window.wait_until(lambda: "x = first" in window.lines(), "a word is accepted")
        window.press("Tab")
        window.wait_until(lambda: "x = first(second) + third" in window.lines(), "all is accepted")

        window.press("Enter")
        window.type("y = ")
        window.wait_for_ghost_text()
        window.press("Escape")
        window.wait_until(lambda: not window.ghost_text(), "it is dismissed")
        assert "y = " in window.lines()

        hover = window.hover()
        assert "scripted on cpu" in hover
        assert re.search(r"Last suggestion: \d+:\d\d:\d\d.*, within \d+ ms", hover)
        assert "Last key: a suggestion" in hover
        window.save_picture("status")


def test_the_hover_shows_the_speed_and_why_there_was_no_suggestion(tmp_path: Path) -> None:
    server = scripted("total + 1\n", 0.01)
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, server) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window)
        window.type("x = ")
        window.wait_for_ghost_text()
        assert re.search(r"Speed: \d+ tokens/s", window.hover())
        window.press("Escape")
        window.press("Control+Home")
        window.type("x")
        reason = "Last key: no suggestion: the cursor is in the middle of a word"
        window.wait_until(lambda: reason in window.hover(), "the reason")
        assert "Last suggestion: " in window.hover()


def test_keys_switch_between_candidates(tmp_path: Path) -> None:
    accepted = tmp_path / "accepted"
    server = [sys.executable, "-m", "tests.editors.candidates_server", str(accepted)]
    with vscode(tmp_path, {"a.py": CODE}, {}, server) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window, "candidates")
        window.type("x = ")
        assert window.wait_for_ghost_text() == "first + 1"
        for key, expected in (
            ("]", "second + 2"),
            ("]", "third + 3"),
            ("]", "first + 1"),
            ("[", "third + 3"),
        ):
            window.press(f"Alt+{key}")
            window.wait_until(
                lambda e=expected: window.ghost_text() == e, f"{expected} after {key}"
            )
        window.press("Tab")
        window.wait_until(lambda: "x = third + 3" in window.lines(), "it is accepted")
        window.wait_until(
            lambda: accepted.exists() and accepted.read_text() == "third + 3\n", "it is reported"
        )


def test_the_menu_turns_a_language_off_and_on(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, scripted("third\n")) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window)
        window.run("StarCoder: Menu")
        window.choose("Turn off for python")
        settings = tmp_path / "data/User/settings.json"
        window.wait_until(
            lambda: "disabledLanguages" in settings.read_text(), "the setting is written"
        )
        open_at_end(window, "a.py")
        window.type("x = ")
        window.page.wait_for_timeout(1500)
        assert window.ghost_text() == ""
        window.run("StarCoder: Menu")
        window.choose("Turn on for python")
        window.wait_until(
            lambda: json.loads(settings.read_text())["starcoder.disabledLanguages"] == [],
            "the setting is removed",
        )
        open_at_end(window, "a.py")
        window.type("1\ny = ")
        window.wait_for_ghost_text()


def test_the_menu_turns_the_workspace_off_and_on(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, scripted("third\n")) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window)
        settings = window.workspace / ".vscode" / "settings.json"
        window.run("StarCoder: Menu")
        window.choose("Turn off in this workspace")
        window.wait_until(
            lambda: settings.exists() and "false" in settings.read_text(), "the setting is written"
        )
        window.wait_until(window.page.locator(OFF).count, "the status bar shows it")
        window.run("StarCoder: Menu")
        window.choose("Turn on")
        window.wait_until(lambda: not window.page.locator(OFF).count(), "it is on")
        open_at_end(window, "a.py")
        window.type("x = ")
        window.wait_for_ghost_text()


def test_a_chat_model_is_chosen_and_given_up_again(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted("x")) as window:
        settings = tmp_path / "data/User/settings.json"

        def chat_model() -> str | None:
            return json.loads(settings.read_text()).get("starcoder.chatModel")

        open_at_end(window, "a.py")
        wait_until_ready(window)
        window.run("StarCoder: Menu")
        window.choose("Choose a chat model…")
        window.choose("HuggingFaceH4/starchat-beta")
        window.wait_until(lambda: chat_model() == "HuggingFaceH4/starchat-beta", "it is written")
        window.run("StarCoder: Choose a Chat Model")
        window.choose("The model for completions")
        window.wait_until(lambda: chat_model() is None, "the setting is removed")


def test_a_partial_answer_is_shown_before_the_diff(tmp_path: Path) -> None:
    answer = "():\n    assert add(1, 2) == 3\n    assert add(2, 2) == 4\n"
    with vscode(tmp_path, {"shop.py": CODE}, {}, scripted(answer, 0.08)) as window:
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        tab = window.page.locator(".tab", has_text="writing tests")
        window.wait_until(tab.count, "the tab of the partial answer")
        window.wait_until(
            lambda: any("assert add(1" in line for line in window.lines()), "it grows"
        )
        assert not any("== 4" in line for line in window.lines())
        window.save_picture("partial-answer")
        toast = window.page.locator(".notification-toast", has_text="Create a file with a test")
        toast.first.wait_for(timeout=60_000)
        window.wait_until(lambda: not tab.count(), "the diff replaces it")
        window.wait_until(lambda: any("== 4" in line for line in window.diff()), "the diff")


def test_new_tests_are_previewed_and_accepted(tmp_path: Path) -> None:
    answer = "():\n    assert add(1, 2) == 3\n"
    with vscode(tmp_path, {"shop.py": CODE}, {}, scripted(answer)) as window:
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        toast = window.page.locator(".notification-toast", has_text="Create a file with a test")
        toast.first.wait_for(timeout=60_000)
        window.wait_until(
            lambda: any("assert add(1, 2) == 3" in line for line in window.diff()), "a diff"
        )
        window.save_picture("tests")
        test_file = window.workspace / "tests" / "test_shop.py"
        assert not test_file.exists()
        toast.locator("a", has_text="Accept").click()
        window.wait_until(test_file.exists, "the file is created")
        window.wait_until(lambda: "    assert add(1, 2) == 3" in window.lines(), "it is shown")


def test_an_edit_can_be_discarded_and_accepted(tmp_path: Path) -> None:
    server = scripted("return b + a\n```")
    with vscode(tmp_path, {"shop.py": CODE}, {}, server) as window:
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        for button, expected in (("Discard", "    return a + b"), ("Accept", "    return b + a")):
            open_at_end(window, "shop.py")
            window.press("ArrowUp")
            window.press("Shift+End")
            window.run("StarCoder: Edit by Instruction")
            window.page.locator(".quick-input-widget input").first.fill("Swap the operands.")
            window.press("Enter")
            action = window.page.locator(f'.editor-actions [aria-label^="{button}"]').first
            action.click(timeout=60_000)
            window.wait_until(lambda e=expected: e in window.lines(), f"after {button}")


def test_ghost_text_in_a_notebook_cell(tmp_path: Path) -> None:
    with vscode(tmp_path, {"n.ipynb": json.dumps(NOTEBOOK)}, {}, scripted("third + 1\n")) as window:
        # Before the extensions are active, VS Code opens a notebook as a JSON file.
        wait_until_ready(window)
        entry = window.page.locator('.explorer-folders-view [aria-label^="n.ipynb"]')
        entry.dblclick(timeout=60_000)
        # VS Code creates the editor of a cell only when the cell is edited.
        row = window.page.locator(".notebookOverlay .code-cell-row").first
        window.wait_until(row.count, "the cell of the notebook")
        row.locator(".cell-editor-container, .cell-editor-part").first.click(timeout=60_000)
        window.press("Enter")
        editor = row.locator(".monaco-editor")
        window.wait_until(editor.count, "the editor of the cell")
        editor.first.click()
        window.press("Control+End")
        window.type("os.")
        assert window.wait_for_ghost_text() == "third + 1"
        window.save_picture("notebook")
        window.press("Tab")
        window.wait_until(lambda: not window.ghost_text(), "it is accepted")


@pytest.mark.usefixtures("own_engines")
def test_the_demo_model_suggests_also_after_its_engine_was_killed(tmp_path: Path) -> None:
    """The real server and engine: ghost text, kill -9, and ghost text again."""
    with vscode(tmp_path, {"a.py": CODE}, DEMO, SERVER) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window, "demo model")
        window.type("def mean(numbers):\nreturn sum(")
        suggestion = window.wait_for_ghost_text()
        window.save_picture("demo-model")
        window.press("Tab")
        window.wait_until(
            lambda: any(suggestion[:4] in line for line in window.lines()), "it is accepted"
        )

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
        window.wait_until(window.ghost_text, "ghost text after the engine was killed", 90)
        wait_until_ready(window, "demo model")

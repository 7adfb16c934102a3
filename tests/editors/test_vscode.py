"""Real VS Code with the packaged extension: ghost text, tasks, the demo model."""

import json
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.client import SERVER, scripted
from tests.editors.vscode import CODE, end_of, ready, vscode

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

        told = window.hover()
        assert "scripted on cpu" in told
        assert re.search(r"Last suggestion: \d+:\d\d:\d\d.*, within \d+ ms", told)
        assert "Last key: a suggestion" in told
        window.picture("status")


def test_the_hover_tells_the_speed_and_why_there_was_none(tmp_path: Path) -> None:
    server = scripted("total + 1\n", 0.01)
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, server) as window:
        end_of(window, "a.py")
        ready(window)
        window.type("x = ")
        window.shown()
        assert re.search(r"Speed: \d+ tokens/s", window.hover())
        window.press("Escape")
        window.press("Control+Home")
        window.type("x")
        why = "Last key: no suggestion: the cursor is in the middle of a word"
        window.until(lambda: why in window.hover(), "the reason")
        assert "Last suggestion: " in window.hover()


def test_going_from_one_candidate_to_the_next(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    server = [sys.executable, "-m", "tests.editors.several", str(taken)]
    with vscode(tmp_path, {"a.py": CODE}, {}, server) as window:
        end_of(window, "a.py")
        ready(window, "several")
        window.type("x = ")
        assert window.shown() == "first + 1"
        for key, shown in (
            ("]", "second + 2"),
            ("]", "third + 3"),
            ("]", "first + 1"),
            ("[", "third + 3"),
        ):
            window.press(f"Alt+{key}")
            window.until(lambda wanted=shown: window.ghost() == wanted, f"{shown} after {key}")
        window.press("Tab")
        window.until(lambda: "x = third + 3" in window.lines(), "it is taken")
        window.until(lambda: taken.exists() and taken.read_text() == "third + 3\n", "reported")


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
        window.until(
            lambda: json.loads(written.read_text())["starcoder.disabledLanguages"] == [],
            "the setting is taken back",
        )
        end_of(window, "a.py")
        window.type("1\ny = ")
        window.shown()


def test_off_in_the_workspace_and_on_again(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {"debounceMs": 0}, scripted("third\n")) as window:
        end_of(window, "a.py")
        ready(window)
        own = window.workspace / ".vscode" / "settings.json"
        window.run("StarCoder: Menu")
        window.choose("Turn off in this workspace")
        window.until(lambda: own.exists() and "false" in own.read_text(), "the setting is written")
        window.until(window.page.locator(OFF).count, "the status bar says so")
        window.run("StarCoder: Menu")
        window.choose("Turn on")
        window.until(lambda: not window.page.locator(OFF).count(), "it is on")
        end_of(window, "a.py")
        window.type("x = ")
        window.shown()


def test_a_draft_is_seen_before_the_diff(tmp_path: Path) -> None:
    answer = "():\n    assert add(1, 2) == 3\n    assert add(2, 2) == 4\n"
    with vscode(tmp_path, {"shop.py": CODE}, {}, scripted(answer, 0.08)) as window:
        end_of(window, "shop.py")
        ready(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        draft = window.page.locator(".tab", has_text="writing tests")
        window.until(draft.count, "the draft's tab")
        window.until(lambda: any("assert add(1" in one for one in window.lines()), "it grows")
        assert not any("== 4" in one for one in window.lines())
        window.picture("draft")
        toast = window.page.locator(".notification-toast", has_text="Create a file with a test")
        toast.first.wait_for(timeout=60_000)
        window.until(lambda: not draft.count(), "the diff takes its place")
        window.until(lambda: any("== 4" in one for one in window.diff()), "the diff")


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

"""Tests with real VS Code in a symlinked folder with an awkward name: file, cell, unsaved text."""

import json
from pathlib import Path

import pytest

from tests.editors.tasks_server import DOCUMENTATION, INSTRUCTION
from tests.editors.test_vscode_tasks import SERVER, button, wait_for_diff, wait_until_closed
from tests.editors.vscode import CODE, VSCode, open_at_end, vscode, wait_until_ready

pytestmark = pytest.mark.usefixtures("vscode_installed")

NAME = "J\xf6rg's [new] + project"


def notebook(*sources: str) -> str:
    """Return a notebook with one code cell per source."""
    cells = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell{number}",
            "metadata": {},
            "outputs": [],
            "source": source.splitlines(keepends=True),
        }
        for number, source in enumerate(sources)
    ]
    metadata = {"language_info": {"name": "python"}}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    return json.dumps(content)


def accept(window: VSCode, text: str) -> None:
    """Accept the proposal that contains a text."""
    wait_for_diff(window, text)
    button(window, "Accept")
    wait_until_closed(window)


def edit(window: VSCode) -> None:
    """Have the selected line changed."""
    window.run("StarCoder: Edit by Instruction")
    box = window.page.locator(".quick-input-widget input").first
    window.wait_until(
        lambda: (
            "What should" in (box.get_attribute("placeholder") or "")
            or "What should" in window.page.locator(".quick-input-message").inner_text()
        ),
        "the question",
    )
    box.fill(INSTRUCTION)
    window.press("Enter")
    accept(window, "return b + a")


def complete(window: VSCode) -> str:
    """Accept a suggestion at the cursor and return its line."""
    window.type("x = ")
    suggestion = window.wait_for_ghost_text()
    window.press("Tab")
    window.wait_until(lambda: not window.ghost_text(), "it is accepted")
    return f"x = {suggestion}"


def attach(window: VSCode, label: str) -> None:
    """Attach the selection to a question, and look for its chip in the chat."""
    window.run("StarCoder: Ask About the Selection")

    def has_chip() -> bool:
        # A notebook has a webview too, so the chat is not always the first one.
        frames = window.page.frames
        return any(frame.locator("#chips .chip", has_text=label).count() for frame in frames)

    window.wait_until(has_chip, f"a chip {label!r}")
    window.save_picture(f"places-chip-{label.split('.')[0]}")
    window.run("StarCoder: New Conversation")
    window.wait_until(lambda: not has_chip(), "the chip is gone")


def has_line(window: VSCode, text: str) -> None:
    window.wait_until(lambda: any(text in line for line in window.lines()), f"a line with {text!r}")


@pytest.fixture
def awkward_root(tmp_path: Path) -> None:
    """Make the workspace a symbolic link."""
    (tmp_path / "real").mkdir()
    (tmp_path / NAME).symlink_to(tmp_path / "real")


@pytest.mark.usefixtures("awkward_root")
def test_a_file_in_an_awkward_folder(tmp_path: Path) -> None:
    with vscode(tmp_path, {"shop.py": CODE}, {}, SERVER, workspace_name=NAME) as window:
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        accept(window, "assert add(1, 2) == 3")
        test_file = tmp_path / "real" / "tests" / "test_shop.py"
        window.wait_until(test_file.exists, "the file is created")

        open_at_end(window, "shop.py")
        window.press("ArrowUp")
        window.run("StarCoder: Document")
        accept(window, DOCUMENTATION)
        has_line(window, DOCUMENTATION)
        open_at_end(window, "shop.py")
        window.press("ArrowUp")
        window.press("Home")
        window.press("Shift+End")
        edit(window)
        has_line(window, "return b + a")
        open_at_end(window, "shop.py")
        has_line(window, complete(window))
        window.press("Home")
        window.press("Shift+End")
        attach(window, "shop.py:4")
        window.save_picture("places-file")


@pytest.mark.usefixtures("awkward_root")
def test_an_unsaved_document_in_an_awkward_folder(tmp_path: Path) -> None:
    with vscode(tmp_path, {"shop.py": CODE}, {}, SERVER, workspace_name=NAME) as window:
        window.set(**{"files.defaultLanguage": "python"})
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        # A double click right of the tabs opens an unsaved document.
        window.page.locator(".tabs-container").first.dblclick(position={"x": 400, "y": 15})
        window.page.locator(".tab", has_text="Untitled-1").first.wait_for()
        window.type("def add(a, b):\nreturn a + b")
        window.wait_until(lambda: "    return a + b" in window.lines(), "the text")
        window.press("Home")
        window.press("Shift+End")
        attach(window, "Untitled-1:2")
        window.page.locator(".view-line", has_text="return").first.click()
        window.run("StarCoder: Document")
        accept(window, DOCUMENTATION)
        has_line(window, DOCUMENTATION)
        window.page.locator(".view-line", has_text="return").first.click()
        window.press("Home")
        window.press("Shift+End")
        edit(window)
        has_line(window, "return b + a")
        window.run("StarCoder: Write Tests")
        toast = window.page.locator(".notification-toast", has_text="Save")
        window.wait_until(toast.count, "a message that says what to do")
        window.save_picture("places-untitled")
        window.page.locator(".view-line", has_text="return").first.click()
        window.press("Control+End")
        window.type("\n\n")
        window.press("Home")
        has_line(window, complete(window))


@pytest.mark.usefixtures("awkward_root")
def test_a_notebook_in_an_awkward_folder(tmp_path: Path) -> None:
    files = {"n.ipynb": notebook("import os", CODE.rstrip(), "add(1, 2)")}
    with vscode(tmp_path, files, {}, SERVER, workspace_name=NAME) as window:
        wait_until_ready(window)
        window.page.locator('.explorer-folders-view [aria-label^="n.ipynb"]').dblclick()
        rows = window.page.locator(".notebookOverlay .code-cell-row")
        window.wait_until(lambda: rows.count() == 3, "the cells of the notebook")

        def edit_cell(number: int) -> None:
            row = rows.nth(number)
            row.locator(".cell-editor-container, .cell-editor-part").first.click()
            if not row.locator(".monaco-editor").count():
                window.press("Enter")
            window.wait_until(row.locator(".monaco-editor").count, "the editor of the cell")
            row.locator(".monaco-editor").first.click()
            window.press("Control+End")

        edit_cell(1)
        window.press("Home")
        window.press("Shift+End")
        attach(window, "n.ipynb cell 2:2")
        edit_cell(1)
        window.run("StarCoder: Document")
        wait_for_diff(window, DOCUMENTATION)
        window.save_picture("places-cell-diff")
        button(window, "Accept")
        wait_until_closed(window)
        window.wait_until(
            lambda: DOCUMENTATION in rows.nth(1).inner_text().replace("\xa0", " "),
            "the cell is documented",
        )
        edit_cell(1)
        window.press("Home")
        window.press("Shift+End")
        edit(window)
        window.wait_until(
            lambda: "return b + a" in rows.nth(1).inner_text().replace("\xa0", " "),
            "the cell is edited",
        )
        assert "import os" in rows.nth(0).inner_text().replace("\xa0", " ")
        edit_cell(1)
        window.run("StarCoder: Write Tests")
        toast = window.page.locator(
            ".notification-toast .notification-list-item-icon.codicon-warning"
        )
        window.wait_until(toast.count, "a message that says what to do")
        edit_cell(2)
        window.press("Enter")
        line = complete(window)
        window.wait_until(
            lambda: line in rows.nth(2).inner_text().replace("\xa0", " "),
            "the suggestion is in the cell",
        )
        window.save_picture("places-notebook")

"""Neovim on documents whose names are not simple: brackets, spaces, links, or no name at all."""

import json
from pathlib import Path

import pytest

from tests.e2e.client import scripted
from tests.editors.neovim import NEOVIM_MARKS, Neovim, neovim

CODE = "def add(a, b):\n    return a + b\n"
TEST_ANSWER = "():\n    assert add(1, 2) == 3\n"
TESTS = "def test_add():\n    assert add(1, 2) == 3\n"
FOLDER = "Jörg's [new] + project"

pytestmark = NEOVIM_MARKS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / FOLDER
    (path / ".git").mkdir(parents=True)
    return path


FILE_NAMES = [
    "example.py",
    "100% of #1 & more?.py",
    "a[b]{c}*d.py",
    "größe 🎉.py",
    "it's `x` $HOME ~ \\t.py",
    "@(x),y;z=1+2!.py",
    "%41%20b.py",
]


def complete_and_accept(editor: Neovim, expected: str) -> None:
    editor.keys("Go")
    editor.type("x = ")
    assert editor.wait_for_ghost_text() == expected
    editor.keys("<Tab>")
    editor.wait_until(lambda: editor.text.endswith(f"x = {expected}"), "it is accepted")
    editor.keys("<Esc>")


def ask_about_lines(editor: Neovim, label: str) -> None:
    editor.client.command("1,2Starcoder chat What is this?")
    editor.wait_until(lambda: f"*{label}*" in editor.buffer_text("starcoder://chat"), "the label")
    finished = "return not require('starcoder.chat').is_answering()"
    editor.wait_until(lambda: editor.lua(finished), "it has answered")
    assert CODE.strip() in editor.engine_requests()[-1]


def accept_preview(editor: Neovim, expected: str) -> None:
    """Wait for the preview of an edit that contains a text, and accept it."""
    editor.wait_until(lambda: editor.client.api.win_get_config(0)["relative"], "the preview")
    assert expected in editor.text
    editor.keys("<CR>")
    editor.wait_until(lambda: not editor.client.api.win_get_config(0)["relative"], "it is closed")


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_file_is_completed_and_attached(version: str, folder: Path, name: str) -> None:
    file = folder / name
    file.write_text(CODE)
    with neovim(version, file, server=scripted("total + 1\n")) as editor:
        editor.wait_for_server()
        complete_and_accept(editor, "total + 1")
        ask_about_lines(editor, f"{name}:1-2")


@pytest.mark.parametrize("name", FILE_NAMES)
def test_lines_of_a_file_are_edited(version: str, folder: Path, name: str) -> None:
    file = folder / name
    file.write_text(CODE)
    with neovim(version, file, server=scripted("return b + a\n```")) as editor:
        editor.wait_for_server()
        editor.client.command("2,2Starcoder edit Swap the operands.")
        accept_preview(editor, "+    return b + a")
        editor.wait_until(lambda: editor.text.endswith("    return b + a"), "it is applied")
        editor.client.command("write")
        assert file.read_text() == CODE.replace("a + b", "b + a")
        assert [path.name for path in folder.iterdir() if path.is_file()] == [name]


def test_a_function_is_documented(version: str, folder: Path) -> None:
    file = folder / "a file's [name].py"
    file.write_text(CODE)
    with neovim(version, file, server=scripted('Add two numbers."""\n')) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder document")
        accept_preview(editor, '+    """Add two numbers."""')
        editor.wait_until(lambda: 'b):\n    """Add two' in editor.text, "it is applied")


def test_tests_are_written(version: str, folder: Path) -> None:
    file = folder / "example.py"
    file.write_text(CODE)
    with neovim(version, file, server=scripted(TEST_ANSWER)) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder tests")
        accept_preview(editor, "+def test_add():")
        editor.wait_until(lambda: "def test_add" in editor.text, "the new file is shown")
        editor.client.command("wall")
        assert (folder / "tests" / "test_example.py").read_text().endswith(TESTS)


def test_a_symlinked_root(version: str, folder: Path, tmp_path: Path) -> None:
    """Names through the link, names without it, and a working folder whose link Neovim resolves."""
    (folder / "example.py").write_text(CODE)
    link = tmp_path / "link to it"
    link.symlink_to(folder)
    with neovim(version, link / "example.py", server=scripted(TEST_ANSWER)) as editor:
        editor.wait_for_server()
        editor.client.command("cd " + editor.client.funcs.fnameescape(str(link)))
        ask_about_lines(editor, "example.py:1-2")
        editor.client.command("Starcoder tests")
        accept_preview(editor, "+def test_add():")
        editor.wait_until(lambda: "def test_add" in editor.text, "the new file is shown")
        editor.client.command("wall")
        editor.client.command("edit " + editor.client.funcs.fnameescape(f"{folder}/example.py"))
        ask_about_lines(editor, "example.py:1-2")
    assert (folder / "tests" / "test_example.py").read_text().endswith(TESTS)


def test_a_symlinked_root_is_completed_and_edited(
    version: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "example.py").write_text(CODE)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with neovim(version, link / "example.py", server=scripted("return b + a\n")) as editor:
        editor.wait_for_server()
        complete_and_accept(editor, "return b + a")
        editor.client.command("2,2Starcoder edit Swap the operands.")
        accept_preview(editor, "+    return b + a")
        editor.wait_until(lambda: ":\n    return b + a" in editor.text, "it is applied")


UNNAMED = ["-c", "set filetype=python"]


def write_code(editor: Neovim) -> None:
    editor.client.current.buffer[:] = CODE.splitlines()
    editor.wait_for_server()


def test_an_unnamed_buffer_is_completed_and_attached(version: str, folder: Path) -> None:
    answer = scripted("total + 1\n")
    with neovim(version, folder / "none", server=answer, arguments=UNNAMED) as editor:
        write_code(editor)
        complete_and_accept(editor, "total + 1")
        ask_about_lines(editor, "[No Name]:1-2")


def test_an_unnamed_buffer_is_edited(version: str, folder: Path) -> None:
    answer = scripted("return b + a\n```")
    with neovim(version, folder / "none", server=answer, arguments=UNNAMED) as editor:
        write_code(editor)
        buffers = len(editor.client.buffers)
        editor.client.command("2,2Starcoder edit Swap the operands.")
        accept_preview(editor, "[No Name]\n")
        editor.wait_until(lambda: editor.text.endswith("    return b + a"), "it is applied")
        assert len(editor.client.buffers) == buffers


def test_an_unnamed_buffer_is_documented(version: str, folder: Path) -> None:
    answer = scripted('Add two numbers."""\n')
    with neovim(version, folder / "none", server=answer, arguments=UNNAMED) as editor:
        write_code(editor)
        editor.client.command("1")
        editor.client.command("Starcoder document")
        accept_preview(editor, '+    """Add two numbers."""')
        editor.wait_until(lambda: 'b):\n    """Add two' in editor.text, "it is applied")


def test_tests_of_an_unnamed_buffer_need_a_file(version: str, folder: Path) -> None:
    answer = scripted(TEST_ANSWER)
    with neovim(version, folder / "none", server=answer, arguments=UNNAMED) as editor:
        write_code(editor)
        editor.client.command("Starcoder tests")
        editor.wait_until(lambda: len(editor.messages) == 2, "a message")
        assert "save" in editor.messages[-1].lower()


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Numbers"]},
        {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": ["def add(a, b):\n", "    return a + b"],
        },
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_a_notebook_as_text(version: str, folder: Path) -> None:
    """Neovim shows a notebook as JSON. It is text like any other, and has no functions."""
    file = folder / "numbers.ipynb"
    file.write_text(json.dumps(NOTEBOOK, indent=1) + "\n")
    with neovim(version, file, server=scripted('"metadata": {"a": 1},\n')) as editor:
        editor.wait_for_server()
        editor.client.command("4,5Starcoder chat What is this?")
        label = "*numbers.ipynb:4-5*"
        editor.wait_until(lambda: label in editor.buffer_text("starcoder://chat"), "the label")
        finished = "return not require('starcoder.chat').is_answering()"
        editor.wait_until(lambda: editor.lua(finished), "it has answered")
        assert '   "cell_type": "markdown",\n   "metadata": {},' in editor.engine_requests()[-1]
        editor.client.command("5,5Starcoder edit Add a.")
        accept_preview(editor, '+   "metadata": {"a": 1},')
        editor.wait_until(lambda: '"metadata": {"a": 1},' in editor.text, "it is applied")
        editor.client.command("Starcoder tests")
        editor.wait_until(lambda: "into a function or class" in editor.messages[-1], "a message")


def test_buffers_that_the_server_does_not_know_are_attached(version: str, folder: Path) -> None:
    file = folder / "example.py"
    file.write_text(CODE)
    with neovim(version, file, server=scripted("It is help.")) as editor:
        editor.wait_for_server()
        editor.client.command("help starcoder")
        editor.client.command("1,1Starcoder chat What is this?")
        label = "*starcoder.txt:1-1*"
        editor.wait_until(lambda: label in editor.buffer_text("starcoder://chat"), "the label")
        editor.wait_until(editor.engine_requests, "a request")
        assert "StarCoder on your own machine" in editor.engine_requests()[-1]


def test_an_edit_of_changed_text_is_not_applied(version: str, folder: Path) -> None:
    file = folder / "example.py"
    file.write_text(CODE)
    with neovim(version, file, server=scripted("return b + a\n```")) as editor:
        editor.wait_for_server()
        buffer = editor.client.current.buffer
        editor.client.command("2,2Starcoder edit Swap the operands.")
        editor.wait_until(lambda: editor.client.api.win_get_config(0)["relative"], "the preview")
        buffer[0:0] = ["# A new first line."]
        editor.keys("<CR>")
        editor.wait_until(lambda: "changed meanwhile" in editor.messages[-1], "a message")
        assert editor.text == "# A new first line.\n" + CODE.strip()


def test_windows_line_ends_stay(version: str, folder: Path) -> None:
    file = folder / "example.py"
    file.write_bytes(CODE.replace("\n", "\r\n").encode())
    with neovim(version, file, server=scripted("return b + a\n```")) as editor:
        editor.wait_for_server()
        editor.client.command("2,2Starcoder edit Swap the operands.")
        accept_preview(editor, "-    return a + b\n+    return b + a")
        editor.wait_until(lambda: editor.text.endswith("    return b + a"), "it is applied")
        editor.client.command("write")
        assert file.read_bytes() == CODE.replace("a + b", "b + a").replace("\n", "\r\n").encode()

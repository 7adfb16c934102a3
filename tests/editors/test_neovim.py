"""Tests with real Neovim: 0.12 with its own ghost text and 0.10 with that of the plugin."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.client import scripted
from tests.editors.conftest import require_editor
from tests.editors.neovim import NEOVIM_MARKS, PLUGIN, Neovim, neovim
from tests.editors.tasks_server import ALLOWED, REVIEW, TRANSLATION, WHAT
from tests.editors.terminal import terminal

TASKS_SERVER = [sys.executable, "-P", "-m", "tests.editors.tasks_server"]
CANDIDATES_SERVER = [sys.executable, "-m", "tests.editors.candidates_server"]
DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}

pytestmark = NEOVIM_MARKS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.py"
    path.write_text("def add(a, b):\n    return a + b\n")
    return path


def test_ghost_text_is_shown_and_accepted(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("total + 1\n")) as editor:
        editor.wait_for_server()
        editor.keys("Go")
        editor.type("x = ")
        assert editor.wait_for_ghost_text() == "total + 1"
        editor.keys("<Tab>")
        editor.wait_until(lambda: editor.text.endswith("x = total + 1"), "it is accepted")
        assert editor.client.current.window.cursor == (3, len("x = total + 1"))
        editor.wait_until(lambda: not editor.ghost_text(), "the ghost text is gone")


def test_ghost_text_stays_while_it_is_typed(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("total + 1\n")) as editor:
        editor.wait_for_server()
        editor.keys("Go")
        editor.type("x = ")
        editor.wait_for_ghost_text()
        editor.type("tot")
        editor.wait_until(lambda: editor.ghost_text() == "al + 1", "the rest is ghost text")


def test_a_word_and_then_a_line_are_accepted(version: str, file: Path) -> None:
    answer = "first(second)\nthird\n"
    with neovim(version, file, server=scripted(answer)) as editor:
        editor.wait_for_server()
        editor.keys("Go")
        editor.type("def f():")
        editor.keys("<CR>")
        editor.wait_until(lambda: editor.ghost_text().startswith("first"), "ghost text")
        editor.keys("<C-Right>")
        editor.wait_until(lambda: editor.text.endswith("first"), "a word is accepted")
        editor.wait_until(lambda: editor.ghost_text().startswith("(second)"), "the rest is shown")
        editor.keys("<C-Down>")
        editor.wait_until(lambda: editor.text.endswith("first(second)"), "a line is accepted")


def test_a_word_after_an_emoji_is_accepted(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("größe + 1\n")) as editor:
        editor.wait_for_server()
        editor.keys("Go")
        editor.client.api.put(["s = '\N{PARTY POPPER}'; x = "], "c", True, True)
        editor.type(" ")
        editor.wait_for_ghost_text()
        editor.keys("<C-Right>")
        editor.wait_until(lambda: editor.text.endswith("x =  größe"), "a word is accepted")


def test_keys_switch_between_candidates(version: str, file: Path) -> None:
    accepted = file.parent / "accepted"
    with neovim(version, file, server=[*CANDIDATES_SERVER, str(accepted)]) as editor:
        editor.wait_for_server()
        editor.keys("Go")
        editor.type("x = ")
        assert editor.wait_for_ghost_text() == "first + 1"
        for key, expected in (
            ("<M-]>", "second + 2 (2/3)"),
            ("<M-]>", "third + 3 (3/3)"),
            ("<M-]>", "first + 1 (1/3)"),
            ("<M-[>", "third + 3 (3/3)"),
            ("<M-[>", "second + 2 (2/3)"),
        ):
            editor.keys(key)
            editor.wait_until(
                lambda e=expected: editor.ghost_text() == e, f"{expected} after {key}"
            )
        editor.keys("<C-Right>")
        editor.wait_until(
            lambda: editor.text.endswith("x = second"), "a word of the second candidate is accepted"
        )
        editor.keys("<Esc>S")
        editor.type("y = ")
        editor.wait_for_ghost_text()
        editor.keys("<M-[>")
        editor.wait_until(
            lambda: editor.ghost_text() == "third + 3 (3/3)",
            "the key moves backwards from the first",
        )
        editor.keys("<Tab>")
        editor.wait_until(lambda: editor.text.endswith("y = third + 3"), "it is accepted")
        editor.wait_until(
            lambda: accepted.read_text() == "second + 2\nthird + 3\n", "it is reported"
        )


def test_keys_keep_their_function_when_nothing_is_shown(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("")) as editor:
        editor.wait_for_server()
        editor.client.command("set noexpandtab")
        editor.keys("Go")
        editor.keys("a<Tab>b")
        editor.wait_until(lambda: editor.text.endswith("a\tb"), "a tab is a tab")


def test_ghost_text_is_dismissed(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("total + 1\n")) as editor:
        editor.wait_for_server()
        editor.keys("Go")
        editor.type("x = ")
        editor.wait_for_ghost_text()
        editor.keys("<C-]>")
        editor.wait_until(lambda: not editor.ghost_text(), "it is dismissed")
        assert editor.text.endswith("x = ")


def test_the_status_shows_the_last_suggestion_and_the_last_key(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("total + 1\n", 0.01)) as editor:
        editor.wait_for_server()
        editor.keys("Go")
        editor.type("x = ")
        editor.wait_for_ghost_text()
        editor.client.command("Starcoder status")
        (status,) = editor.wait_until(lambda: editor.messages, "the status is shown")
        assert status.startswith("StarCoder scripted\nscripted on cpu\nlast suggestion: ")
        assert re.search(r"last suggestion: \d\d:\d\d:\d\d, within \d+ ms\n", status)
        assert re.search(r"speed: \d+ tokens/s\n", status)
        assert status.endswith("last key: a suggestion (model)")
        editor.keys("<Esc>u")
        editor.keys("ggI")
        editor.type("x")
        details = "return require('starcoder.status').details()"
        reason = "last key: no suggestion: the cursor is in the middle of a word"
        editor.wait_until(lambda: reason in editor.lua(details), "the reason")
        assert any(line.startswith("last suggestion: ") for line in editor.lua(details))


def test_the_chat_streams_and_shows_its_attachments(version: str, file: Path) -> None:
    answer = "It adds.\n```python\nadd(1, 2)\n```\nDone."
    with neovim(version, file, server=scripted(answer, 0.01)) as editor:
        editor.wait_for_server()
        editor.client.command("1,2Starcoder chat What is this?")
        editor.wait_until(lambda: "It a" in editor.buffer_text("starcoder://chat"), "it begins")
        assert "Done." not in editor.buffer_text("starcoder://chat")  # the answer is streamed
        editor.wait_until(lambda: "Done." in editor.buffer_text("starcoder://chat"), "it ends")
        transcript = editor.buffer_text("starcoder://chat")
        assert "*example.py:1-2*\nWhat is this?" in transcript
        assert transcript.count("It adds.") == 1
        prompt = editor.engine_requests()[-1]
        assert "```python\ndef add(a, b):\n    return a + b\n```\n\nWhat is this?" in prompt

        editor.lua("require('starcoder.chat').open(); vim.cmd.stopinsert()")
        editor.client.command("call win_gotoid(bufwinid('starcoder://chat'))")
        editor.client.command("call search('add(1, 2)')")
        editor.keys("gy")
        editor.wait_until(
            lambda: editor.client.funcs.getreg('"') == "add(1, 2)\n", "code is yanked"
        )


def test_an_answer_can_be_stopped(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("abcdefgh" * 40, 0.02)) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder chat Go")
        editor.wait_until(lambda: "abcd" in editor.buffer_text("starcoder://chat"), "it begins")
        editor.client.command("Starcoder stop")
        editor.wait_until(
            lambda: "*(stopped)*" in editor.buffer_text("starcoder://chat"), "it is stopped"
        )


def test_new_tests_are_previewed_and_written(version: str, file: Path) -> None:
    answer = "():\n    assert add(1, 2) == 3\n"
    with neovim(version, file, server=scripted(answer)) as editor:
        editor.wait_for_server()
        editor.client.command("2")
        editor.client.command("Starcoder tests")
        editor.wait_until(lambda: "def test_add():" in editor.text, "the preview")
        assert "New file" in editor.text
        assert not (file.parent / "tests").exists()
        editor.keys("<CR>")
        editor.wait_until(
            lambda: "test_example.py" in str([b.name for b in editor.client.buffers]),
            "the edit is applied",
        )
        editor.client.command("wall")
        written = (file.parent / "tests" / "test_example.py").read_text()
        assert written == (
            "from example import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
        )


def test_consent_is_asked_once_and_the_stage_is_shown(version: str, file: Path) -> None:
    question = f"StarCoder: run {WHAT}?"
    program = require_editor(f"nvim-{version}")
    with neovim(version, file, server=[*TASKS_SERVER, "0.02", "ask"]) as editor:
        editor.wait_for_server()
        address = editor.lua("return vim.fn.serverstart()")
        argv = [str(program), "--server", address, "--remote-ui"]
        with terminal(argv, file.parent, {}) as ui:
            ui.wait_for_text("def add(a, b):")
            ui.keys(":Starcoder tests\r")
            ui.wait_for_text("starcoder: writing tests …")
            ui.wait_for_text(question)
            ui.wait_for_text("2: Always in this workspace")
            ui.keys("2\r")
            ui.wait_for_text(f"starcoder: {ALLOWED} …")
            ui.wait_for_text("def test_add():")
            ui.keys("q:Starcoder tests\r")
            ui.wait_for_text(f"starcoder: {ALLOWED} …")
            ui.wait_for_text("def test_add():")
            ui.keys("q:Starcoder forget-consent\r")
            again = "StarCoder asks again before it runs generated code here."
            # Neovim 0.12 shows messages of servers with `vim.notify`, and 0.10 itself.
            ui.wait_until(lambda: again in ui.text or again in str(editor.messages), "the message")
            ui.keys(":Starcoder tests\r")
            ui.wait_for_text(question)


def test_a_review_and_a_translation_are_shown(version: str, file: Path) -> None:
    with neovim(version, file, server=TASKS_SERVER) as editor:
        editor.wait_for_server()
        editor.client.command("1,2Starcoder review")
        editor.wait_until(lambda: editor.text == REVIEW, "the review")
        editor.keys("q")
        completions = editor.lua("return vim.fn.getcompletion('Starcoder translate g', 'cmdline')")
        assert completions == ["Go"]
        editor.client.command("1,2Starcoder translate Go")
        editor.wait_until(lambda: editor.text.startswith("```go\n"), "the translation")
        assert TRANSLATION in editor.text
        editor.keys("q")
        editor.wait_until(lambda: editor.text == file.read_text().rstrip(), "it is closed")
        editor.client.command("1")
        editor.lua("vim.ui.select = function(items, _, choose) _G.items = items; choose('Go') end")
        editor.client.command("Starcoder translate")
        editor.wait_until(lambda: TRANSLATION in editor.text, "the translation to the choice")
        assert "Rust" in editor.lua("return _G.items")


def test_an_edit_of_lines_can_be_refused_and_applied(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("return b + a\n```")) as editor:
        editor.wait_for_server()
        for key, expected in (("q", "    return a + b"), ("<CR>", "    return b + a")):
            editor.client.command("2,2Starcoder edit Swap the operands.")
            editor.wait_until(lambda: "return b + a" in editor.text, "the preview")
            editor.wait_until(lambda: editor.client.api.win_get_config(0)["relative"], "a float")
            editor.keys(key)
            editor.wait_until(lambda e=expected: editor.text.endswith(e), f"after {key}")


def test_an_error_is_shown(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("nonsense")) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder tests")
        editor.wait_until(
            lambda: any("no test of add" in text for text in editor.messages), "the error"
        )
        editor.client.command("Starcoder paint")
        assert "starcoder: unknown command :Starcoder paint" in editor.messages


def test_checkhealth_is_clean(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("x")) as editor:
        editor.wait_for_server()
        editor.wait_until(
            lambda: editor.lua("return require('starcoder').statusline()"), "a status"
        )
        editor.client.command("checkhealth starcoder")
        editor.wait_until(lambda: "starcoder" in editor.text, "the report")
        assert "ERROR" not in editor.text
        assert "WARNING" not in editor.text
        assert "scripted" in editor.text


def test_an_unknown_option_is_reported(version: str, file: Path) -> None:
    with neovim(version, file, options={"colour": "red"}) as editor:
        editor.wait_until(lambda: editor.messages, "a message")
        assert editor.messages == ['starcoder: setup() has no option "colour"']


def test_a_too_old_neovim_gets_an_error_message() -> None:
    program = require_editor("nvim-0.7")
    setup = f"lua vim.opt.rtp:prepend('{PLUGIN}'); require('starcoder').setup()"
    argv = [str(program), "--headless", "--clean", "-c", setup, "-c", "qa!"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert result.stderr.strip().endswith("starcoder: Neovim 0.10 or newer is required")


@pytest.mark.parametrize("has_root", [True, False])
@pytest.mark.parametrize("seconds", [2, 1000], ids=["ends late", "never ends"])
def test_a_restart_waits_for_the_old_server(
    version: str, file: Path, seconds: int, has_root: bool
) -> None:
    if has_root:
        (file.parent / ".git").mkdir()
    script = f"{shlex.join(scripted('1'))}; exec sleep {seconds}"
    with neovim(version, file, server=["sh", "-c", script]) as editor:
        editor.wait_for_server()
        editor.restart_server()
        time.sleep(3)  # until the old server would have ended
        assert editor.num_clients() == 1
        editor.keys("Go")
        editor.type("x = ")
        assert editor.wait_for_ghost_text() == "1"


@pytest.mark.parametrize("has_root", [True, False])
def test_files_of_a_folder_share_one_server(version: str, file: Path, has_root: bool) -> None:
    if has_root:
        (file.parent / ".git").mkdir()
    (file.parent / "other.py").write_text("x = 1\n")
    with neovim(version, file, server=scripted("1")) as editor:
        editor.wait_for_server()
        before = editor.client_id()
        editor.client.command("edit %:h/other.py")
        editor.wait_until(lambda: editor.client_id() == before, "it is attached")
        assert editor.num_clients() == 1


@pytest.mark.usefixtures("own_engines")
def test_the_demo_model_suggests_also_after_a_restart(version: str, file: Path) -> None:
    """The real server, the real engine: ghost text, a restart, ghost text again."""
    with neovim(version, file, settings=DEMO) as editor:
        editor.wait_for_server()
        ready = "return require('starcoder.status').current.state == 'ready'"
        editor.wait_until(lambda: editor.lua(ready), "the model is loaded", 120)
        assert editor.lua("return require('starcoder').statusline()") == "StarCoder demo model"
        accept_demo_suggestion(editor)
        editor.lua("require('starcoder.status').set({state = 'starting'})")
        editor.restart_server()
        editor.wait_until(lambda: editor.lua(ready), "it is back", 60)
        accept_demo_suggestion(editor)


@pytest.mark.usefixtures("own_engines")
def test_ghost_text_and_chat_are_visible_in_a_terminal(file: Path) -> None:
    """Neovim 0.12 shows the demo model's ghost text and chat; the test saves a picture of them."""
    program = require_editor("nvim-0.12")
    file.write_text("def mean(numbers):\n    return sum(")
    settings = {**DEMO, "chatMaxNewTokens": 60}
    with neovim("0.12", file, settings=settings, options={"chat_width": 50}) as editor:
        editor.client.command("set termguicolors background=dark laststatus=3")
        editor.client.command("set statusline=%t\\ %=%{v:lua.require'starcoder'.statusline()}\\ ")
        address = editor.lua("return vim.fn.serverstart()")
        argv = [str(program), "--server", address, "--remote-ui"]
        with terminal(argv, file.parent, {}) as ui:
            ui.wait_for_text("StarCoder demo model", 120)
            ui.keys(":1,2Starcoder chat What does this do?\r")
            ui.wait_for_text("What does this do?")
            answer = "return not require('starcoder.chat').is_answering()"
            editor.wait_until(lambda: editor.lua(answer), "it has answered", 60)
            ui.keys("GA")
            ui.wait_until(
                lambda: ui.screen.display[1].partition("sum(")[2][:3].strip(), "ghost text", 60
            )
            ui.wait(0.3)
            assert "sum(" in editor.text
            assert editor.text.endswith("sum(")  # ghost text is not part of the buffer
            assert "mean" in ui.save_picture("neovim", "Neovim 0.12").read_text()


LINE_PREFIXES = ("import ", "return sum(", "for name in ", "if not ", "x = len(", "print(")


def accept_demo_suggestion(editor: Neovim) -> None:
    """Type line prefixes until the demo model suggests something, and accept that."""
    for prefix in LINE_PREFIXES:
        editor.keys("<Esc>Go<C-u>")
        editor.type(prefix)
        try:
            suggestion = str(editor.wait_until(editor.ghost_text, "ghost text", 5))
        except AssertionError:
            continue
        before = editor.text
        editor.keys("<Tab>")
        editor.wait_until(lambda text=before: editor.text != text, "it is accepted")
        assert suggestion.split("\n")[0] in editor.text
        return
    raise AssertionError("the demo model has no suggestion for any line")


def test_modules_load_and_define_no_globals(version: str, file: Path) -> None:
    lua = PLUGIN / "lua"
    files = (file.relative_to(lua).with_suffix("") for file in lua.rglob("*.lua"))
    modules = sorted(".".join(file.parts).removesuffix(".init") for file in files)
    if version == "0.10":
        modules.remove("starcoder.builtin")  # needs Neovim 0.12
    with neovim(version, file, server=scripted("x")) as editor:
        before = set(editor.lua("return vim.tbl_keys(_G)"))
        for module in modules:
            editor.lua("require(...)", module)
        assert set(editor.lua("return vim.tbl_keys(_G)")) - before == set()


@pytest.mark.parametrize(
    ("text", "word", "line"),
    [
        ("first(second)\nthird", "first", "first(second)"),
        ("  + 1", "  +", "  + 1"),
        ("\n    return x", "\n    return", "\n    return x"),
        ("größe = 1", "größe", "größe = 1"),
        ("_private.name", "_private", "_private.name"),
        ("", "", ""),
    ],
)
def test_the_first_word_and_line_of_a_suggestion(
    text: str, word: str, line: str, file: Path, version: str
) -> None:
    with neovim(version, file, server=scripted("x")) as editor:
        assert editor.lua("return require('starcoder.parts').word(...)", text) == word
        assert editor.lua("return require('starcoder.parts').line(...)", text) == line

"""Real Neovim, 0.12 with its own ghost text and 0.10 with ours: typed into, and looked at."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.client import scripted
from tests.editors.conftest import needed
from tests.editors.neovim import PLUGIN, Neovim, neovim
from tests.editors.terminal import terminal

SEVERAL = [sys.executable, "-m", "tests.editors.several"]
DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.py"
    path.write_text("def add(a, b):\n    return a + b\n")
    return path


def test_ghost_text_is_seen_and_taken(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("total + 1\n")) as editor:
        editor.attached()
        editor.keys("Go")
        editor.type("x = ")
        assert editor.shown() == "total + 1"
        editor.keys("<Tab>")
        editor.until(lambda: editor.text.endswith("x = total + 1"), "it is accepted")
        assert editor.client.current.window.cursor == (3, len("x = total + 1"))
        editor.until(lambda: not editor.ghost(), "nothing is grey any more")


def test_typing_along_keeps_it(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("total + 1\n")) as editor:
        editor.attached()
        editor.keys("Go")
        editor.type("x = ")
        editor.shown()
        editor.type("tot")
        editor.until(lambda: editor.ghost() == "al + 1", "the rest is grey")


def test_a_word_then_a_line_then_all(version: str, file: Path) -> None:
    answer = "first(second)\nthird\n"
    with neovim(version, file, server=scripted(answer)) as editor:
        editor.attached()
        editor.keys("Go")
        editor.type("def f():")
        editor.keys("<CR>")
        editor.until(lambda: editor.ghost().startswith("first"), "ghost text")
        editor.keys("<C-Right>")
        editor.until(lambda: editor.text.endswith("first"), "a word is taken")
        editor.until(lambda: editor.ghost().startswith("(second)"), "the rest is shown")
        editor.keys("<C-Down>")
        editor.until(lambda: editor.text.endswith("first(second)"), "a line is taken")


def test_a_word_after_an_emoji(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("größe + 1\n")) as editor:
        editor.attached()
        editor.keys("Go")
        editor.client.api.put(["s = '\N{PARTY POPPER}'; x = "], "c", True, True)
        editor.type(" ")
        editor.shown()
        editor.keys("<C-Right>")
        editor.until(lambda: editor.text.endswith("x =  größe"), "a word is taken")


def test_going_from_one_candidate_to_the_next(version: str, file: Path) -> None:
    taken = file.parent / "taken"
    with neovim(version, file, server=[*SEVERAL, str(taken)]) as editor:
        editor.attached()
        editor.keys("Go")
        editor.type("x = ")
        assert editor.shown() == "first + 1"
        for key, shown in (
            ("<M-]>", "second + 2 (2/3)"),
            ("<M-]>", "third + 3 (3/3)"),
            ("<M-]>", "first + 1 (1/3)"),
            ("<M-[>", "third + 3 (3/3)"),
            ("<M-[>", "second + 2 (2/3)"),
        ):
            editor.keys(key)
            editor.until(lambda wanted=shown: editor.ghost() == wanted, f"{shown} after {key}")
        editor.keys("<C-Right>")
        editor.until(lambda: editor.text.endswith("x = second"), "a word of the second is taken")
        editor.keys("<Esc>S")
        editor.type("y = ")
        editor.shown()
        editor.keys("<M-[>")
        editor.until(lambda: editor.ghost() == "third + 3 (3/3)", "backwards from the first")
        editor.keys("<Tab>")
        editor.until(lambda: editor.text.endswith("y = third + 3"), "it is accepted")
        editor.until(lambda: taken.read_text() == "second + 2\nthird + 3\n", "it is reported")


def test_keys_do_what_they_did_where_nothing_is_shown(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("")) as editor:
        editor.attached()
        editor.client.command("set noexpandtab")
        editor.keys("Go")
        editor.keys("a<Tab>b")
        editor.until(lambda: editor.text.endswith("a\tb"), "a tab is a tab")


def test_dismissing(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("total + 1\n")) as editor:
        editor.attached()
        editor.keys("Go")
        editor.type("x = ")
        editor.shown()
        editor.keys("<C-]>")
        editor.until(lambda: not editor.ghost(), "it is away")
        assert editor.text.endswith("x = ")


def test_the_status_tells_of_the_last_suggestion_and_of_the_last_key(
    version: str, file: Path
) -> None:
    with neovim(version, file, server=scripted("total + 1\n", 0.01)) as editor:
        editor.attached()
        editor.keys("Go")
        editor.type("x = ")
        editor.shown()
        editor.client.command("Starcoder status")
        (said,) = editor.until(lambda: editor.said, "the status is told")
        assert said.startswith("StarCoder scripted\nscripted on cpu\nlast suggestion: ")
        assert re.search(r"last suggestion: \d\d:\d\d:\d\d, within \d+ ms\n", said)
        assert re.search(r"speed: \d+ tokens/s\n", said)
        assert said.endswith("last key: a suggestion (model)")
        editor.keys("<Esc>u")
        editor.keys("ggI")
        editor.type("x")
        told = "return require('starcoder.status').details()"
        reason = "last key: no suggestion: the cursor is in the middle of a word"
        editor.until(lambda: reason in editor.lua(told), "the reason")
        assert any(line.startswith("last suggestion: ") for line in editor.lua(told))


def test_the_chat_streams_and_shows_what_is_attached(version: str, file: Path) -> None:
    answer = "It adds.\n```python\nadd(1, 2)\n```\nDone."
    with neovim(version, file, server=scripted(answer, 0.01)) as editor:
        editor.attached()
        editor.client.command("1,2Starcoder chat What is this?")
        editor.until(lambda: "It a" in editor.buffer("starcoder://chat"), "it begins")
        assert "Done." not in editor.buffer("starcoder://chat")  # it came in pieces
        editor.until(lambda: "Done." in editor.buffer("starcoder://chat"), "it ends")
        transcript = editor.buffer("starcoder://chat")
        assert "*example.py:1-2*\nWhat is this?" in transcript
        assert transcript.count("It adds.") == 1
        prompt = editor.lua(
            "local c = vim.lsp.get_clients()[1];"
            "return vim.lsp.buf_request_sync(1, 'test/requests', {}, 5000)[c.id].result.texts"
        )[-1]
        assert "```python\ndef add(a, b):\n    return a + b\n```\n\nWhat is this?" in prompt

        editor.lua("require('starcoder.chat').open(); vim.cmd.stopinsert()")
        editor.client.command("call win_gotoid(bufwinid('starcoder://chat'))")
        editor.client.command("call search('add(1, 2)')")
        editor.keys("gy")
        editor.until(lambda: editor.client.funcs.getreg('"') == "add(1, 2)\n", "code is yanked")


def test_an_answer_is_stopped(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("abcdefgh" * 40, 0.02)) as editor:
        editor.attached()
        editor.client.command("Starcoder chat Go")
        editor.until(lambda: "abcd" in editor.buffer("starcoder://chat"), "it begins")
        editor.client.command("Starcoder stop")
        editor.until(lambda: "*(stopped)*" in editor.buffer("starcoder://chat"), "it is stopped")


def test_tests_are_shown_then_written(version: str, file: Path) -> None:
    answer = "():\n    assert add(1, 2) == 3\n"
    with neovim(version, file, server=scripted(answer)) as editor:
        editor.attached()
        editor.client.command("2")
        editor.client.command("Starcoder tests")
        editor.until(lambda: "def test_add():" in editor.text, "the preview")
        assert "New file" in editor.text
        assert not (file.parent / "tests").exists()
        editor.keys("<CR>")
        editor.until(
            lambda: "test_example.py" in str([b.name for b in editor.client.buffers]),
            "the edit is applied",
        )
        editor.client.command("wall")
        written = (file.parent / "tests" / "test_example.py").read_text()
        assert written == (
            "from example import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
        )


def test_an_edit_of_lines_is_applied_and_can_be_refused(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("return b + a\n```")) as editor:
        editor.attached()
        for key, expected in (("q", "    return a + b"), ("<CR>", "    return b + a")):
            editor.client.command("2,2Starcoder edit Turn them round.")
            editor.until(lambda: "return b + a" in editor.text, "the preview")
            editor.until(lambda: editor.client.api.win_get_config(0)["relative"], "a float")
            editor.keys(key)
            editor.until(lambda e=expected: editor.text.endswith(e), f"after {key}")


def test_an_error_is_told(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("nonsense")) as editor:
        editor.attached()
        editor.client.command("Starcoder tests")
        editor.until(lambda: any("no test of add" in one for one in editor.said), "it is told")
        editor.client.command("Starcoder paint")
        assert "starcoder: there is no :Starcoder paint" in editor.said


def test_checkhealth_is_clean(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("x")) as editor:
        editor.attached()
        editor.until(lambda: editor.lua("return require('starcoder').statusline()"), "a status")
        editor.client.command("checkhealth starcoder")
        editor.until(lambda: "starcoder" in editor.text, "the report")
        assert "ERROR" not in editor.text
        assert "WARNING" not in editor.text
        assert "scripted" in editor.text


def test_wrong_options_are_named(version: str, file: Path) -> None:
    with neovim(version, file, options={"colour": "red"}) as editor:
        editor.until(lambda: editor.said, "a message")
        assert editor.said == ['starcoder: setup() knows no option "colour"']


def test_an_older_neovim_is_told_what_is_needed() -> None:
    program = needed("nvim-0.7")
    setup = f"lua vim.opt.rtp:prepend('{PLUGIN}'); require('starcoder').setup()"
    argv = [str(program), "--headless", "--clean", "-c", setup, "-c", "qa!"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stderr.strip().endswith("starcoder: Neovim 0.10 or newer is needed")


def test_the_help_has_its_tags(version: str, file: Path, tmp_path: Path) -> None:
    with neovim(version, file, server=scripted("x")) as editor:
        pages = tmp_path / "doc"
        pages.mkdir()
        source = Path(__file__).parents[2] / "editors/neovim/doc/starcoder.txt"
        (pages / "starcoder.txt").write_text(source.read_text())
        editor.client.command(f"helptags {pages}")
        tags = (pages / "tags").read_text()
        assert {":Starcoder", "starcoder-chat", "starcoder-ghost"} <= {
            line.split("\t")[0] for line in tags.splitlines()
        }


@pytest.mark.usefixtures("own_engines")
def test_the_demo_model_for_real(version: str, file: Path) -> None:
    """The real server, the real engine: ghost text, a restart, ghost text again."""
    with neovim(version, file, settings=DEMO) as editor:
        editor.attached()
        ready = "return require('starcoder.status').current.state == 'ready'"
        editor.until(lambda: editor.lua(ready), "the model is loaded", 120)
        assert editor.lua("return require('starcoder').statusline()") == "StarCoder demo model"
        ghost_from_demo(editor)
        editor.client.command("Starcoder restart")
        editor.lua("require('starcoder.status').set({state = 'starting'})")
        editor.until(lambda: editor.lua(ready), "it is back", 60)
        ghost_from_demo(editor)


@pytest.mark.usefixtures("own_engines")
def test_what_a_person_sees(file: Path) -> None:
    """Neovim 0.12 in a terminal: the demo model's ghost text beside a chat; kept as a picture."""
    program = needed("nvim-0.12")
    file.write_text("def mean(numbers):\n    return sum(")
    settings = {**DEMO, "chatMaxNewTokens": 60}
    with neovim("0.12", file, settings=settings, options={"chat_width": 50}) as editor:
        editor.client.command("set termguicolors background=dark laststatus=3")
        editor.client.command("set statusline=%t\\ %=%{v:lua.require'starcoder'.statusline()}\\ ")
        address = editor.lua("return vim.fn.serverstart()")
        argv = [str(program), "--server", address, "--remote-ui"]
        with terminal(argv, file.parent, {}) as seen:
            seen.sees("StarCoder demo model", 120)
            seen.keys(":1,2Starcoder chat What does this do?\r")
            seen.sees("What does this do?")
            answer = "return not require('starcoder.chat').is_answering()"
            editor.until(lambda: editor.lua(answer), "it has answered", 60)
            seen.keys("GA")
            seen.until(
                lambda: seen.screen.display[1].partition("sum(")[2][:3].strip(), "ghost text", 60
            )
            seen.wait(0.3)
            assert "sum(" in editor.text
            assert editor.text.endswith("sum(")  # what is seen is not written
            assert "mean" in seen.picture("neovim", "Neovim 0.12").read_text()


BEGINNINGS = ("import ", "return sum(", "for name in ", "if not ", "x = len(", "print(")


def ghost_from_demo(editor: Neovim) -> None:
    """Begin lines until the demo model has something to add to one, and take that."""
    for beginning in BEGINNINGS:
        editor.keys("<Esc>Go<C-u>")
        editor.type(beginning)
        try:
            shown = str(editor.until(editor.ghost, "ghost text", 5))
        except AssertionError:
            continue
        before = editor.text
        editor.keys("<Tab>")
        editor.until(lambda text=before: editor.text != text, "it is accepted")
        assert shown.split("\n")[0] in editor.text
        return
    raise AssertionError("the demo model adds nothing to any of them")


def test_every_module_loads_and_leaks_no_global(version: str, file: Path) -> None:
    lua = PLUGIN / "lua"
    found = (".".join(one.relative_to(lua).with_suffix("").parts) for one in lua.rglob("*.lua"))
    modules = sorted(one.removesuffix(".init") for one in found)
    if version == "0.10":
        modules.remove("starcoder.builtin")  # for those that have inline completion of their own
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
def test_parts_of_a_suggestion(text: str, word: str, line: str, file: Path, version: str) -> None:
    with neovim(version, file, server=scripted("x")) as editor:
        assert editor.lua("return require('starcoder.parts').word(...)", text) == word
        assert editor.lua("return require('starcoder.parts').line(...)", text) == line

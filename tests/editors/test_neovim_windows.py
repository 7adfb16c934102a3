"""Neovim: the help, and the plugin's windows: chat, preview, explanation."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.client import scripted
from tests.editors.conftest import require_editor
from tests.editors.neovim import NEOVIM_MARKS, PLUGIN, Neovim, neovim

CODE = "def add(a, b):\n    return a + b\n"
CHAT, INPUT, EXPLANATION = "starcoder://chat", "starcoder://chat-input", "starcoder://explanation"

pytestmark = NEOVIM_MARKS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "example.py"
    path.write_text(CODE)
    return path


def readme_recipe() -> str:
    """Return the first Lua code of the plugin's README, for this copy of the plugin."""
    readme = (PLUGIN / "README.md").read_text()
    match = re.search(r"```lua\n(.*?)```", readme, re.DOTALL)
    assert match is not None
    return match[1].replace("/path/to/starcoder-lsp/editors/neovim", str(PLUGIN))


RECIPES = {
    "the README's": readme_recipe(),
    "appended": f"vim.opt.runtimepath:append('{PLUGIN}')",
    "a plugin manager, on demand": (
        "vim.api.nvim_create_user_command('Load', function()"
        f" vim.opt.rtp:append('{PLUGIN}'); vim.cmd.source('{PLUGIN}/plugin/starcoder.lua')"
        " end, {})"
    ),
    "a native package": "",
    "an optional native package": "vim.cmd.packadd('starcoder-opt')",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_help_is_found(version: str, tmp_path: Path, recipe: str) -> None:
    program = require_editor(f"nvim-{version}")
    (tmp_path / "init.lua").write_text(RECIPES[recipe])
    packages = tmp_path / "data" / "nvim" / "site" / "pack" / "any"
    if "optional" in recipe:
        (packages / "opt").mkdir(parents=True)
        (packages / "opt" / "starcoder-opt").symlink_to(PLUGIN)
    elif "native" in recipe:
        (packages / "start").mkdir(parents=True)
        (packages / "start" / "starcoder").symlink_to(PLUGIN)
    folders = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("DATA", "CONFIG")}
    report = "lua io.stderr:write(vim.fn.expand('%:t') .. ' ' .. vim.fn.getline(1))"
    for topic in ("starcoder", "starcoder-chat", ":Starcoder"):
        commands = [*(["Load"] if "demand" in recipe else []), f"help {topic}", report, "qa!"]
        argv = [str(program), "--headless", "-u", str(tmp_path / "init.lua"), "-i", "NONE"]
        result = subprocess.run(
            [*argv, *(part for command in commands for part in ("-c", command))],
            env={**os.environ, **folders},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.stderr.startswith("starcoder.txt *starcoder.txt*"), result.stderr


def test_the_tags_are_those_of_the_help(version: str, tmp_path: Path) -> None:
    """Plugin managers run `:helptags`, which must not change a file of the repository."""
    program = require_editor(f"nvim-{version}")
    (tmp_path / "starcoder.txt").write_text((PLUGIN / "doc" / "starcoder.txt").read_text())
    argv = [str(program), "--headless", "--clean", "-c", f"helptags {tmp_path}", "-c", "qa!"]
    subprocess.run(argv, check=True, timeout=60)
    assert (tmp_path / "tags").read_text() == (PLUGIN / "doc" / "tags").read_text()


def test_the_help_names_every_command_and_option(version: str, file: Path) -> None:
    page = (PLUGIN / "doc" / "starcoder.txt").read_text()
    with neovim(version, file, server=scripted("x")) as editor:
        commands = editor.lua("return vim.tbl_keys(require('starcoder.commands').subcommands)")
        options = editor.lua("return vim.tbl_keys(require('starcoder.config').defaults)")
    assert [name for name in commands if f":Starcoder {name}" not in page] == []
    assert [name for name in options if not re.search(rf"^    {name} ", page, re.M)] == []


@pytest.mark.parametrize(
    ("option", "columns", "width"),
    [
        (None, 200, 70),
        (None, 100, 35),
        (None, 80, 30),
        (None, 40, 20),
        (0.5, 120, 60),
        (50, 120, 50),
        (70, 80, 40),
    ],
)
def test_the_chat_has_its_share_of_the_screen(
    version: str, file: Path, option: float | None, columns: int, width: int
) -> None:
    options = {} if option is None else {"chat_width": option}
    with neovim(version, file, server=scripted("x"), options=options) as editor:
        editor.client.command(f"set columns={columns}")
        editor.client.command("Starcoder chat")
        assert editor.client.funcs.winwidth(editor.window_of(CHAT)) == width
        editor.client.command("stopinsert | wincmd =")
        assert editor.client.funcs.winwidth(editor.window_of(CHAT)) == width


def test_a_width_that_is_not_positive_is_reported(version: str, file: Path) -> None:
    with neovim(version, file, options={"chat_width": 0}) as editor:
        assert editor.messages == ["starcoder: the option chat_width must be positive"]


def test_words_are_not_broken(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("It adds.")) as editor:
        editor.client.command("set nolinebreak list number")
        editor.wait_for_server()
        editor.client.command("Starcoder chat")
        editor.client.command("stopinsert")
        for name in (CHAT, INPUT):
            window = editor.window_of(name)
            assert editor.option("linebreak", window), name
            assert editor.option("wrap", window), name
            assert not editor.option("list", window), name
            assert not editor.option("number", window), name
        # The windows of files keep their options.
        editor.client.command("wincmd t")
        assert not editor.option("linebreak")
        assert editor.option("number")


def attached_lines(editor: Neovim) -> list[list[int]]:
    """Return the first and last marked line of each attachment in buffer 1, 0-based."""
    marks = editor.lua(
        "local id = vim.api.nvim_get_namespaces()['starcoder.attachments'];"
        "return vim.api.nvim_buf_get_extmarks(1, id, 0, -1, {details = true})"
    )
    return [[row, details["end_row"]] for _, row, _, details in marks]


def test_the_attached_range_is_visible_before_sending(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("It adds.")) as editor:
        editor.wait_for_server()
        editor.client.command("1,2Starcoder chat")
        editor.client.command("stopinsert")
        assert editor.option("winbar", editor.window_of(INPUT)) == "With example.py:1-2"
        assert attached_lines(editor) == [[0, 1]]
        # The attachment follows the text until it is sent, and its mark goes away then.
        editor.client.buffers[1][0:0] = ["# A new first line.", ""]
        assert attached_lines(editor) == [[2, 3]]
        editor.lua("require('starcoder.chat').send('What is this?')")
        editor.wait_until(lambda: "It adds." in editor.buffer_text(CHAT), "the answer")
        assert "*example.py:3-4*" in editor.buffer_text(CHAT)
        assert f"{CODE}```" in editor.engine_requests()[-1]
        assert attached_lines(editor) == []
        assert "With" not in editor.option("winbar", editor.window_of(INPUT))


def test_attached_lines_can_be_removed(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("x")) as editor:
        editor.wait_for_server()
        editor.client.command("1,2Starcoder chat")
        editor.client.command("stopinsert | wincmd t")
        editor.client.command("1,2Starcoder chat")
        editor.client.command("stopinsert | wincmd t")
        editor.client.command("2,2Starcoder chat")
        editor.keys("<Esc>")
        winbar = editor.option("winbar", editor.window_of(INPUT))
        assert winbar == "With example.py:1-2, example.py:2-2"
        editor.keys("D")
        editor.wait_until(lambda: not attached_lines(editor), "they are removed")
        assert "With" not in editor.option("winbar", editor.window_of(INPUT))


def test_a_percent_sign_in_a_name_is_shown(version: str, tmp_path: Path) -> None:
    file = tmp_path / "100%fun.py"
    file.write_text(CODE)
    with neovim(version, file, server=scripted("x")) as editor:
        editor.client.command("1,2Starcoder chat")
        winbar = editor.option("winbar", editor.window_of(INPUT))
        shown = editor.client.api.eval_statusline(winbar, {"winid": editor.window_of(INPUT)})
        assert shown["str"] == "With 100%fun.py:1-2"


def test_an_explanation_is_read_only_and_never_asks_to_be_saved(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("It adds two numbers.")) as editor:
        editor.wait_for_server()
        editor.client.command("1,2Starcoder explain")
        editor.wait_until(lambda: "It adds two numbers." in editor.text, "the explanation")
        assert editor.client.current.buffer.name == EXPLANATION
        assert editor.client.current.buffer.options["buftype"] == "nofile"
        assert not editor.client.current.buffer.options["modifiable"]
        assert editor.option("linebreak")
        assert editor.window_of("example.py") != -1  # the code stays visible
        editor.client.command("wincmd t")
        editor.client.command("1,2Starcoder explain")
        editor.wait_until(lambda: len(editor.messages) == 2, "it runs again")
        editor.wait_until(lambda: editor.client.current.buffer.name == EXPLANATION, "again")
        names = [buffer.name for buffer in editor.client.buffers]
        assert names.count(EXPLANATION) == 1
        editor.keys("q")
        editor.wait_until(lambda: editor.window_of(EXPLANATION) == -1, "it is closed")
        editor.client.command("Starcoder chat")
        editor.keys("not sent<Esc>")
        editor.wait_until(lambda: editor.buffer_text(INPUT) == "not sent", "it is written")
        editor.client.command("wincmd t")
        editor.client.command("1,2Starcoder explain")
        editor.wait_until(lambda: editor.client.current.buffer.name == EXPLANATION, "again")
        # Leaving everything does not fail with "No write since last change".
        editor.client.command("qall", async_=True)
        with pytest.raises((OSError, EOFError)):
            editor.wait_until(lambda: editor.lua("return false"), "Neovim ends")


def test_what_arrives_does_not_take_the_keys_that_are_typed(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("return b + a\n```", 0.05)) as editor:
        editor.wait_for_server()
        editor.client.command("2,2Starcoder edit Swap the operands.")
        editor.keys("Goq")
        finished = "return require('starcoder.scratch').num_waiting"
        editor.wait_until(lambda: editor.lua(finished) == 1, "the edit waits")
        editor.keys("q")
        editor.wait_until(lambda: editor.text.endswith("\nqq"), "the keys are typed")
        editor.keys("<Esc>")
        editor.wait_until(lambda: editor.client.api.win_get_config(0)["relative"], "the preview")
        assert "+    return b + a" in editor.text


def test_a_command_is_stopped(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("slow " * 400, 0.05)) as editor:
        editor.wait_for_server()
        editor.client.command("1,2Starcoder explain")
        editor.wait_until(editor.engine_requests, "it runs")
        editor.client.command("Starcoder stop")
        requests = (
            "return vim.tbl_count(vim.tbl_filter(function(r) return r.type == 'pending' end, "
            "vim.lsp.get_clients()[1].requests))"
        )
        editor.wait_until(lambda: editor.lua(requests) == 0, "it has ended")
        assert editor.messages == ["starcoder: explain …"]


def test_a_message_that_cannot_be_sent_is_given_back(version: str, file: Path) -> None:
    with neovim(version, file, server=["false"]) as editor:
        editor.client.command("1,2Starcoder chat")
        editor.keys("What is this?<C-s>")
        editor.wait_until(lambda: "not running" in str(editor.messages), "a message")
        assert editor.buffer_text(INPUT) == "What is this?"
        assert editor.option("winbar", editor.window_of(INPUT)) == "With example.py:1-2"


def test_the_chat_goes_on_after_the_server_ended(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("slow " * 400, 0.05)) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder chat Go")
        editor.wait_until(lambda: "slow" in editor.buffer_text(CHAT), "it begins")
        editor.lua("for _, client in ipairs(vim.lsp.get_clients()) do client.rpc.terminate() end")
        answering = "return require('starcoder.chat').is_answering()"
        editor.wait_until(lambda: not editor.lua(answering), "the answer is marked")
        assert "*(interrupted by an error" in editor.buffer_text(CHAT)


def test_the_last_question_comes_back(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("It adds.")) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder chat")
        editor.keys("What is this?<C-s>")
        editor.wait_until(lambda: "It adds." in editor.buffer_text(CHAT), "the answer")
        editor.keys("<Up>")
        editor.wait_until(lambda: editor.buffer_text(INPUT) == "What is this?", "it is there")
        editor.keys("!<Up>")
        editor.wait_until(lambda: editor.buffer_text(INPUT) == "What is this?!", "it stays")


def test_the_chat_opens_in_another_tab_page_and_again(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("It adds.")) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder chat")
        editor.client.command("stopinsert | tabnew")
        editor.client.command("Starcoder chat")
        assert editor.window_of(CHAT) != -1
        assert editor.client.current.buffer.name == INPUT
        # Without its upper window the chat opens as a whole.
        editor.client.command("stopinsert | wincmd k | quit")
        editor.client.command("Starcoder chat")
        shown = [window.buffer.name for window in editor.client.current.tabpage.windows]
        assert sorted(name for name in shown if name) == [CHAT, INPUT]
        # Closing the chat when nothing else is shown leaves an empty file.
        editor.client.command("stopinsert | wincmd t | quit")
        editor.lua("require('starcoder.chat').close()")
        assert [window.buffer.name for window in editor.client.current.tabpage.windows] == [""]


def test_checkhealth_without_setup(version: str, tmp_path: Path) -> None:
    program = require_editor(f"nvim-{version}")
    commands = [
        f"lua vim.opt.rtp:prepend('{PLUGIN}')",
        "checkhealth starcoder",
        "lua io.stderr:write(table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n'))",
        "qa!",
    ]
    argv = [str(program), "--headless", "--clean"]
    argv += [part for command in commands for part in ("-c", command)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert "the plugin is not set up" in result.stderr
    assert "require('starcoder').setup()" in result.stderr


def answered(editor: Neovim) -> bool:
    return not editor.lua("return require('starcoder.chat').is_answering()")


def test_a_slash_command_uses_the_function_at_the_cursor(version: str, file: Path) -> None:
    file.write_text("import os\n\n\n" + CODE + "\n\nprint(add(1, 2))\n")
    with neovim(version, file, server=scripted("It adds.")) as editor:
        editor.wait_for_server()
        editor.client.command("5")
        editor.client.command("Starcoder chat /explain")
        editor.wait_until(lambda: "It adds." in editor.buffer_text(CHAT), "the answer")
        assert "*example.py:4-5*" in editor.buffer_text(CHAT)
        assert CODE.strip() in editor.engine_requests()[-1]
        assert "print(add" not in editor.engine_requests()[-1]


def test_an_unknown_slash_command_is_reported_and_given_back(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("It adds.")) as editor:
        editor.wait_for_server()
        editor.client.command("1,2Starcoder chat")
        editor.keys("/explian<C-s>")
        editor.wait_until(lambda: "/explian" in str(editor.messages), "a message")
        assert "Did you mean /explain?" in editor.messages[-1]
        editor.wait_until(lambda: editor.buffer_text(INPUT) == "/explian", "the text is back")
        assert editor.option("winbar", editor.window_of(INPUT)) == "With example.py:1-2"
        assert editor.buffer_text(CHAT).strip() == ""
        assert answered(editor)


def test_an_answer_is_continued_and_asked_for_again(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("abcdefgh" * 40, 0.02)) as editor:
        editor.wait_for_server()
        editor.client.command("Starcoder chat Go")
        editor.wait_until(lambda: "abcd" in editor.buffer_text(CHAT), "it begins")
        editor.client.command("Starcoder stop")
        editor.wait_until(lambda: "*(stopped)*" in editor.buffer_text(CHAT), "it is stopped")
        partial = editor.buffer_text(CHAT)
        editor.client.command("call win_gotoid(bufwinid('starcoder://chat'))")
        editor.keys("C")
        editor.wait_until(lambda: not answered(editor), "it goes on")
        assert "*(stopped)*" not in editor.buffer_text(CHAT)
        editor.wait_until(lambda: len(editor.buffer_text(CHAT)) > len(partial), "there is more")
        editor.keys("S")
        editor.wait_until(lambda: answered(editor), "it is stopped again")
        assert editor.buffer_text(CHAT).count("## StarCoder") == 1
        editor.keys("R")
        editor.wait_until(lambda: not answered(editor), "it is asked for again")
        assert editor.buffer_text(CHAT).count("## You") == 1
        editor.keys("S")
        editor.wait_until(lambda: answered(editor), "this answer can be stopped too")


def test_a_conversation_gets_a_title(version: str, file: Path) -> None:
    with neovim(version, file, server=scripted("It adds.")) as editor:
        editor.wait_for_server()
        editor.lua("vim.ui.input = function(_, callback) callback('Sums') end")
        editor.client.command("Starcoder chat What is this?")
        editor.wait_until(lambda: "It adds." in editor.buffer_text(CHAT) and answered(editor), "")
        editor.client.command("call win_gotoid(bufwinid('starcoder://chat'))")
        editor.keys("T")
        editor.wait_until(lambda: "is called Sums" in str(editor.messages), "the title")
        editor.lua(
            "vim.ui.select = function(items) "
            "_G.titles = vim.tbl_map(function(item) return item.title end, items) end"
        )
        editor.keys("H")
        editor.wait_until(lambda: editor.lua("return _G.titles"), "the list")
        assert "Sums" in editor.lua("return _G.titles")

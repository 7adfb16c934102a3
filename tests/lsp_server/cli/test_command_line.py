"""Help, wrong command lines, exit statuses and interruptions."""

import os
import re
import time

import psutil
import pytest
import typer
from typer.testing import CliRunner

from engine.errors import ConfigurationError
from lsp_server.cli import command_line
from lsp_server.cli.app import app
from tests.lsp_server.cli.runner import LEAKS, assert_plain, in_terminal, read_all, run

_NAMES = ("demo", "complete", "serve", "models", "doctor", "eval", "replay", "stats", "judge")
COMMANDS = (
    *((name,) for name in _NAMES),
    *(("tune", name) for name in ("code", "chat", "merge", "list", "remove")),
)
PYTHON_TYPES = ("<str>", "<bool>", "<int", "<float", "<path>", "Path]", "list[")


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
    return result.exit_code, re.sub(r"[│╭╮╰╯─\s]+", " ", result.output)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_in_plain_words(command: tuple[str, ...]) -> None:
    status, text = invoke(*command, "--help")
    assert status == 0
    assert invoke(*command, "-h") == (0, text)
    assert "-h" in text
    assert not [word for word in PYTHON_TYPES if word in text]
    if command[0] != "tune":
        assert f"Example: starcoder-lsp {command[0]}" in text


@pytest.mark.parametrize("command", [("serve",), ("tune", "merge")], ids=" ".join)
def test_no_word_of_the_help_is_broken(command: tuple[str, ...]) -> None:
    output = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"}).output
    assert {"auto,", "bfloat16,"} <= set(output.replace("│", " ").split())
    assert "|" not in output.replace("<keep|unload>", "")


def test_paragraphs_of_the_help_fill_the_width() -> None:
    result = CliRunner().invoke(app, ["eval", "--help"], env={"COLUMNS": "80"})
    lines = [line.strip() for line in result.output.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith("Tests of the holes"))
    assert all(len(line) > 60 for line in lines[start : start + 2])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stat",), "Did you mean 'stats'?"),
        (("tune", "lst"), "Did you mean 'list'?"),
        (("serve", "--prot", "1"), "--port"),
        (("serve", "--port", "abc"), "'abc' cannot be used: give a whole number."),
        (("serve", "--port", "99999"), "the largest value is 65535."),
        (("serve", "--idle-timeout", "x"), "give a number."),
        (("serve", "--dtype", "int9"), "'int9' is not one of 'auto', 'float32'"),
        (("stats", "--days", "nan"), "the smallest value is 0"),
        (("eval", ".", "--count", "0"), "the smallest value is 1."),
        (("eval", ".", "--kind", "lines"), "'lines' is not one of 'line', 'span'"),
        (("eval",), "Missing argument"),
        (("complete", "-a.py:1:1"), "If this is the name of a file, put -- before it."),
        (("--tcp", "here"), "Give PORT or HOST:PORT."),
        (("--stdio", "--uds", "x"), "Give only one of them."),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_has_status_2_and_says_what_to_do(
    arguments: tuple[str, ...], words: str
) -> None:
    status, text = invoke(*arguments)
    assert status == 2
    assert words in text
    assert "Value error" not in text
    assert "Usage: " in text
    assert not [leak for leak in LEAKS if leak in text]


def test_the_name_of_the_program_is_that_of_the_readme() -> None:
    process = run("complet")
    assert_plain(process, 2, "Usage: starcoder-lsp ", "Did you mean 'complete'?")


def failing(error: Exception) -> typer.Typer:
    failing_app = typer.Typer(cls=command_line.PlainGroup, pretty_exceptions_enable=False)

    @failing_app.callback()
    def root() -> None:
        pass

    @failing_app.command()
    def fail() -> None:
        raise error

    return failing_app


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigurationError("Set it."), "error: Set it."),
        (FileNotFoundError(2, "No such file or directory", "a/b"), "error: a/b: no such file"),
        (OSError(28, "No space left on device"), "error: The output cannot be written: no space"),
        (
            KeyError("secret"),
            r"error: starcoder-lsp failed unexpectedly \(KeyError in .*test_command_line.py, line",
        ),
    ],
    ids=["ours", "file", "disk", "fault"],
)
def test_an_unexpected_failure_is_one_sentence(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = CliRunner().invoke(failing(error), ["fail"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert re.match(message, line)
    assert "secret" not in line
    monkeypatch.setenv("STARCODER_LSP_TRACEBACK", "1")
    assert CliRunner().invoke(failing(error), ["fail"]).exception is error


@pytest.mark.parametrize("error", [typer.Exit(7), typer.Abort(), BrokenPipeError(32, "x")])
def test_other_ways_to_end_are_not_failures(error: Exception) -> None:
    result = CliRunner().invoke(failing(error), ["fail"])
    assert "error:" not in result.stderr
    assert result.exit_code == (7 if isinstance(error, typer.Exit) else 1)


@pytest.mark.usefixtures("own_engines")
def test_ctrl_c_leaves_the_terminal_clean() -> None:
    with in_terminal("demo", "--model", "demo") as (process, master):
        text = ""
        while "Ready" not in text:
            text += os.read(master, 4096).decode(errors="replace")
        children = psutil.Process(process.pid).children()
        os.write(master, b"\x03")
        text += read_all(master)
        assert process.wait(30) == 130
    assert not [leak for leak in LEAKS if leak in text], text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is visible
    deadline = time.monotonic() + 20
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)

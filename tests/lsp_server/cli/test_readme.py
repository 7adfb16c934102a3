"""The commands of the README work as they are written."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lsp_server.cli.runner import environment

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment whose shell finds `starcoder-lsp`, as after the README's first steps."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "starcoder-lsp"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m lsp_server "$@"\n')
    script.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return environment(PATH=path, PYTHONPATH=str(ROOT))


@pytest.mark.usefixtures("own_engines")
def test_the_curl_example_works_when_pasted(program: dict[str, str], tmp_path: Path) -> None:
    (block,) = re.findall(r"```\n(starcoder-lsp serve [^`]*\ncurl [^`]*)```", README)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert block.count("8765") == 2
    done = subprocess.run(
        ["bash", "-c", f"{block.replace('8765', port)}\nkill $!\nwait"],
        cwd=tmp_path,
        env=program,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert json.loads(done.stdout)["choices"][0]["text"], done.stderr
    assert os.listdir(tmp_path) != []  # the runtime folder of the fixtures, nothing of the command


def test_every_command_of_the_readme_exists() -> None:
    from typer.main import get_command

    from lsp_server.cli.app import app

    group = get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    table = set(re.findall(r"^\| `starcoder-lsp (\w+)", README, re.MULTILINE))
    assert table == set(commands)
    for name, *options in re.findall(r"starcoder-lsp (\w[\w-]*)((?: --[\w-]+[^`\n]*)?)", README):
        if name not in commands:
            assert "&& cd starcoder-lsp" in README  # the name of the folder
            continue
        available = {option for each in commands[name].params for option in each.opts}
        for option in re.findall(r"--[\w-]+", " ".join(options)):
            assert option in available, (name, option)


def test_the_program_is_on_the_path_after_the_first_steps() -> None:
    (line,) = re.findall(r'^export PATH="\$PWD/(.+):\$PATH"$', README, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    folder, program = line.split("/")
    assert f"VENV   := {folder}\n" in makefile
    assert program == "bin"
    assert "BIN    := $(VENV)/bin\n" in makefile

"""`complete FILE:LINE:COL`: which files and positions it accepts, and what it excludes."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.errors import ConfigurationError
from lsp_server.cli.app import app
from lsp_server.cli.complete import read_snapshot
from lsp_server.settings import Settings
from tests.lsp_server.cli.runner import COMMAND, environment

NAMES = (
    "a.py",
    "two words.py",
    "Jörg's [new] + project.py",
    "a:b:3:4.py",
    "-dash.py",
    "C:\\x.py",
    "#1%20.py",
    "日本.py",
    "line\nend.py",
    ":1:2",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_file_is_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("x = 1\ny = 2\n")
    snapshot = read_snapshot(f"{name}:2:3")
    assert (snapshot.before, snapshot.after) == ("x = 1\ny ", "= 2\n")
    assert snapshot.uri == (tmp_path / name).as_uri()


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ("a.py", "is not a position"),
        ("a.py:1", "is not a position"),
        ("a.py:1:", "is not a position"),
        ("a.py:one:1", "is not a position"),
        ("a.py:-1:1", "is not a position"),
        ("a.py:1.5:1", "is not a position"),
        ("a.py:١:١", "is not a position"),
        ("", "is not a position"),
        ("a.py:0:1", "has 3 lines; there is no 0:1"),
        ("a.py:4:1", "has 3 lines; there is no 4:1"),
        (f"a.py:{'9' * 5000}:1", "has 3 lines"),
        ("a.py:1:0", "Line 1 of .* has 5 characters; there is no 1:0. Its end is 1:6"),
        ("a.py:1:7", "there is no 1:7"),
        (f"a.py:1:{'9' * 5000}", "has 5 characters"),
        ("a.py:3:2", "has 0 characters"),
        ("empty.py:2:1", "has 1 line; there is no 2:1"),
        ("C:\\none.py:1:2", r"C:\\none.py cannot be read: no such file"),
        ("none.py:1:1", "none.py cannot be read: no such file"),
        ("-:1:1", "- cannot be read"),
        ("folder:1:1", "is a directory"),
        ("binary.py:1:1", "it is not UTF-8 text"),
        ("/dev/zero:1:1", "/dev/zero is larger than 8 MB"),
        ("a.py/x:1:1", "not a directory"),
        ("a\0.py:1:1", "null"),
    ],
)
def test_a_position_that_does_not_exist_is_explained(
    position: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    Path("empty.py").write_text("")
    Path("folder").mkdir()
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=words) as raised:
        read_snapshot(position)
    assert len(str(raised.value)) < 6000


@pytest.mark.parametrize(
    ("content", "position", "before"),
    [
        (b"x = 1\r\ny", "1:6", "x = 1"),
        (b"x = 1\ry", "2:2", "x = 1\ry"),
        ("\ufeffx = 1".encode(), "1:2", "x"),
        ("a = '𝒳' + b".encode(), "1:7", "a = '𝒳"),
        (b"", "1:1", ""),
    ],
)
def test_columns_count_characters_of_the_line(
    content: bytes, position: str, before: str, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_bytes(content)
    snapshot = read_snapshot(f"{tmp_path}/a.py:{position}")
    assert snapshot.before == before
    assert snapshot.language_id == "python"


@pytest.mark.parametrize("pattern", Settings().exclude)
def test_files_that_editors_exclude_get_no_suggestion(pattern: str, tmp_path: Path) -> None:
    file = tmp_path / pattern.replace("*", "x")
    file.write_text("A=1\n")
    arguments = ["complete", f"{file}:1:3", "--model", "/no/model"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"No suggestion: {file.name} is excluded by starcoder.exclude." in result.output
    plain = CliRunner().invoke(app, [*arguments, "--plain"])
    assert (plain.exit_code, plain.stdout) == (0, "")
    assert "is excluded" in plain.stderr


def test_a_link_is_excluded_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("A=1\n")
    (tmp_path / ".env").symlink_to("config")
    result = CliRunner().invoke(app, ["complete", f"{tmp_path}/.env:1:3", "--model", "/no/model"])
    assert ".env is excluded" in result.output


def test_binary_text_gets_no_suggestion(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x\0 = 1\n")
    arguments = ["complete", f"{tmp_path}/a.py:1:1", "--model", "/no/model"]
    assert "the file is binary" in CliRunner().invoke(app, arguments).output


@pytest.mark.usefixtures("own_engines")
def test_the_plain_text_in_a_pipe_is_utf_8_in_every_locale(tmp_path: Path) -> None:
    file = tmp_path / "-é.py"
    file.write_text("logger = logging.getLogger(_", encoding="utf-8")
    process = subprocess.run(
        [*COMMAND, "complete", "--model", "demo", "--plain", "--", "-é.py:1:29"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        env=environment(PYTHONIOENCODING="ascii", PYTHONPATH=os.getcwd()),
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(b"\n")
    assert process.stdout.strip()

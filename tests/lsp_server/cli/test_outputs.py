"""Files that commands read and write: what is wrong is said in one sentence, before long work."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import ConfigurationError
from lsp_server.cli.app import app
from lsp_server.cli.outputs import check_output, check_output_folder, write_output
from lsp_server.cli.results import Results
from tests.lsp_server.cli.runner import COMMAND, LEAKS, assert_plain, environment, run

SOURCE = "def add(a, b):\n    total = a + b\n    return total\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_text(SOURCE * 3)
    return folder


COMMANDS: dict[str, tuple[str, ...]] = {
    "eval --out": ("eval", "{project}", "--out", "{file}"),
    "eval --json": ("eval", "{project}", "--json", "{file}"),
    "eval --plot": ("eval", "{project}", "--plot", "{file}.png"),
    "replay --out": ("replay", "{project}", "--lines", "1", "--out", "{file}"),
    "replay --json": ("replay", "{project}", "--lines", "1", "--json", "{file}"),
    "judge --out": (
        *("judge", "{project}/a.py", "--a", "demo", "--b", "demo"),
        *("--judge-url", "http://127.0.0.1:9", "--judge-model", "m", "--out", "{file}"),
    ),
    "demo --save-svg": ("demo", "--save-svg", "{file}"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_in_a_missing_folder_is_refused_before_the_work(
    command: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong model would be reported when the work starts."""
    file = tmp_path / "missing" / "results"
    arguments = [part.format(project=project, file=file) for part in COMMANDS[command]]
    monkeypatch.setenv("STARCODER_LSP_MODEL", "/no/model")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {command.split()[1]} {file}")
    assert line.endswith(f"there is no folder {file.parent}. Create it first.")
    assert not file.parent.exists()


def test_other_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.write_text("")
    for path, words in (
        (folder, "it is a folder"),
        (file / "x", "there is no folder"),
        (tmp_path / ("x" * 300), "name"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            check_output(path, "--out")
    for writable in (file, tmp_path / "new", Path("/dev/full"), Path("new"), None):
        check_output(writable, "--out")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["code --full", "chat --folder"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(
    command: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STARCODER_LSP_MODEL", "/no/model")
    name, option = command.split()
    for folder in (project / "a.py", project / "a.py" / "x", Path("/proc/self/status/x/y")):
        result = CliRunner().invoke(app, ["tune", name, str(project), option, str(folder)])
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: {option} {folder} cannot be written: ")
        assert line.endswith(" is not a folder.")
    check_output_folder(project / "new" / "folder", option)
    check_output_folder(project, option)
    check_output_folder(None, option)
    assert sorted(os.listdir(project)) == ["a.py"]


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="optional: needs root")
def test_places_of_other_users_are_refused(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir(mode=0o755)
    file.write_text("")
    file.chmod(0o644)
    # All imports come first: the other user may not be able to read the packages.
    code = """
import os, sys
from pathlib import Path
from engine.errors import ConfigurationError
from lsp_server.cli.outputs import check_output
os.setgid(65534)
os.setuid(65534)
for path in sys.argv[1:]:
    try:
        check_output(Path(path), "--out")
    except ConfigurationError as error:
        print(error)
"""
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "new"), str(file)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert done.stdout.splitlines() == [
        f"--out {folder / 'new'} cannot be written: you may not write to the folder {folder}.",
        f"--out {file} cannot be written: you may not write to it.",
    ]


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="/dev/full cannot be written: no space left"):
        write_output(Path("/dev/full"), "text")
    results = Results(Path("/dev/full"), _read)
    with pytest.raises(ConfigurationError, match="no space left"):
        results.add(Row(1))


@dataclass
class Row:
    number: int


def _read(row: dict[str, Any]) -> Row:
    return Row(**row)


@pytest.mark.parametrize(
    "content",
    [
        b"# Notes\n\nmine\n",
        b"\xff\xfe\x00",
        b"[1, 2]\n",
        b'{"another": 1}\n',
        b'{"number": 1}\n5\n',
        b"a line without an end",
        b'{"number": 1}\nmine',
        b"null\n",
    ],
)
def test_a_file_with_other_content_is_kept_and_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.md"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="has lines that are not results"):
        Results(file, _read)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("", ""),
        ('{"number": 1}\n', '{"number": 1}\n'),
        ('{"number": 1}\n{"num', '{"number": 1}\n'),
        ('{"number": 1}\n{"number": 2}', '{"number": 1}\n'),
        ('{"nu', ""),
    ],
)
def test_an_interrupted_run_continues(tmp_path: Path, content: str, kept: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    results = Results(file, _read)
    assert len(results.rows) == kept.count("\n")
    results.add(Row(3))
    assert file.read_text() == kept + '{"number": 3}\n'


INPUTS = ("missing", "folder", "binary", "empty", "text", "list", "object")


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    contents = {
        "binary": b"\xff\xfe\x00",
        "empty": b"",
        "text": b"{not json\n",
        "list": b"[1, null]\n",
        "object": b'{"a": {}}\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    return {name: tmp_path / name for name in INPUTS}


READERS: tuple[tuple[str, ...], ...] = (
    ("eval", "{file}"),
    ("replay", "{file}"),
    ("replay", "{project}", "--lines", "1", "--rhythm", "{file}"),
    (
        *("judge", "{file}", "--a", "demo", "--b", "demo"),
        *("--judge-url", "http://127.0.0.1:9", "--judge-model", "m"),
    ),
    ("tune", "chat", "{file}"),
    ("tune", "code", "{file}"),
    ("complete", "{file}:9:9"),
    ("serve", "--token-file", "{file}"),
    ("models", "{file}"),
)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: " ".join(reader[:2]))
@pytest.mark.parametrize("name", INPUTS)
def test_a_file_that_cannot_be_used_is_reported_in_plain_words(
    reader: tuple[str, ...],
    name: str,
    inputs: dict[str, Path],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STARCODER_LSP_MODEL", "/no/model")
    arguments = [part.format(file=inputs[name], project=project) for part in reader]
    if reader[0] == "judge" and name in ("text", "list"):
        arguments[1] = str(inputs["object"])  # lines of plain text are prompts
    if reader[0] == "models" and name == "folder":
        return  # an empty folder of models is no failure
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert not [leak for leak in LEAKS if leak in line], line


def test_a_holes_file_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "holes.jsonl"
    hole = {"name": "a", "language": "python", "kind": "line"}
    texts = {"prefix": "", "middle": "x", "suffix": ""}
    for row, words in (
        ({**hole, **texts, "other": ""}, "neither the fields of a hole"),
        ({**hole, "prefix": 5, "middle": None, "suffix": []}, "neither the fields of a hole"),
        ([], "neither the fields of a hole"),
        ({"canonical_solution": "x"}, "neither the fields of a hole"),
    ):
        file.write_text(f"{json.dumps({**hole, **texts})}\n{json.dumps(row)}\n")
        assert f"{file}, line 2 has {words}" in CliRunner().invoke(app, ["eval", str(file)]).stderr
    damaged = tmp_path / "holes.jsonl.gz"
    damaged.write_bytes(b"\x1f\x8b\x08\x00")
    assert_plain(run("eval", str(damaged)), 1, f"{damaged} cannot be read: it is damaged.")


def test_a_full_or_closed_stdout_is_no_traceback() -> None:
    with Path("/dev/full").open("w") as full:
        process = run("models", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert process.returncode == 1
    assert process.stderr == "error: The output cannot be written: no space left on device.\n"
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (("models",), ("--help",)):
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, env=environment()
        )
        assert done.stderr == b"", arguments
    os.close(writer)

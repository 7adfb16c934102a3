"""`starcoder-lsp replay` types through the real server, and continues an interrupted run."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lsp_server.cli.app import app

TEXT = "def f(a):\n    if a:\n        return a\n    return 0\n\n\nx = f(1)\n"


@pytest.mark.usefixtures("own_engines")
def test_the_command_types_through_the_server_and_continues(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(TEXT)
    rhythm, out, summary = (tmp_path / name for name in ("rhythm.json", "out.jsonl", "sums.json"))
    rhythm.write_text("[20, 30]")
    arguments = [
        "replay",
        str(tmp_path),
        "--model",
        str(tiny_checkpoint),
        "--files",
        "2",
        "--lines",
        "1",
        "--rhythm",
        str(rhythm),
        "--eagerness",
        "eager",
        "--out",
        str(out),
        "--json",
        str(summary),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "keys pressed" in result.output
    first = json.loads(summary.read_text())
    assert first["passages"] == 2
    assert first["calls"] > 0
    # After a kill in the middle of a line, complete lines are kept and the rest is repeated.
    lines = out.read_text().splitlines()
    out.write_text(f"{lines[0]}\n{lines[1][:30]}")
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0, again.output
    kept = out.read_text().splitlines()
    assert kept[0] == lines[0]
    assert json.loads(kept[1])["name"] == json.loads(lines[1])["name"]

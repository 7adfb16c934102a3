"""`starcoder-lsp stats` shows and deletes the counts of suggestions."""

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lsp_server.cli.app import app
from lsp_server.session.statistics import read, write


def test_the_command_shows_and_forgets_the_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stats.sqlite3"
    monkeypatch.setenv("STARCODER_LSP_STATISTICS", str(file))
    assert json.loads(CliRunner().invoke(app, ["stats", "--json"]).output) == []
    write(file, (1.0, "shown", "go", "demo", 3))
    (count,) = json.loads(CliRunner().invoke(app, ["stats", "--json"]).output)
    assert count["events"] == {"shown": 1}
    assert json.loads(CliRunner().invoke(app, ["stats", "--json", "--days", "1"]).output) == []
    assert "go" in CliRunner().invoke(app, ["stats"]).output
    CliRunner().invoke(app, ["stats", "--forget"])
    assert not file.exists()


def test_the_command_refuses_a_file_that_is_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "stats.sqlite3"
    monkeypatch.setenv("STARCODER_LSP_STATISTICS", str(file))
    file.write_text("this is not a database, and it is longer than a header " * 9)
    result = CliRunner().invoke(app, ["stats"])
    assert result.exit_code == 1
    assert "Delete it" in result.output
    with pytest.raises(sqlite3.Error):
        read(file)

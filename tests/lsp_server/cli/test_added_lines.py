"""`eval` and `replay` with `--since` and `--from-git`: both figures, next to each other."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fim.evaluation.counts import TypingCounts
from fim.evaluation.files import Sample
from fim.evaluation.run import Record
from lsp_server.cli import replay as replay_command
from lsp_server.cli.added_lines import DIFFERENCE, ONLY_RANDOM
from lsp_server.cli.app import app
from lsp_server.cli.evaluation_tables import headline, print_tables, report_json
from tests.lsp_server.cli.runner import assert_plain, run
from tests.workspace.git_oracle import git, make_repository

OLD = "def f(a):\n    if a:\n        return a\n    return 0\n"
NEW = OLD + "\n\ndef g(b):\n    total = sum(b)\n    return total\n\n\nx = g([1])\ny = f(1)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with two commits, and a copy of the first tree next to it."""
    root = make_repository(tmp_path / "project")
    for folder, text in ((tmp_path / "v1", OLD), (root, OLD), (root, NEW)):
        folder.mkdir(exist_ok=True)
        (folder / "a.py").write_text(text)
        if folder == root:
            git(root, "add", "-A")
            git(root, "commit", "-q", "-m", "change")
    (root / "new.py").write_text("value = g(a)\nother = f(b)\n")
    return root


def option(project: Path, name: str) -> list[str]:
    return ["--since", str(project.parent / "v1")] if name == "since" else ["--from-git", "5"]


@pytest.mark.usefixtures("own_engines")
@pytest.mark.parametrize("name", ["since", "from-git"])
def test_eval_draws_two_samples(
    project: Path, tmp_path: Path, tiny_checkpoint: Path, name: str
) -> None:
    out, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    arguments = [
        *("eval", str(project), *option(project, name), "--model", str(tiny_checkpoint)),
        *("--count", "3", "--out", str(out), "--json", str(report)),
    ]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert DIFFERENCE in result.output
    assert "added lines" in result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["sample"] for row in rows) == ["added"] * 6 + ["random"] * 6
    tables = json.loads(report.read_text())
    assert [row["holes"] for row in tables["kind"]] == [3, 3]
    assert [row["holes"] for row in tables["added"]["kind"]] == [3, 3]
    again = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    assert again.exit_code == 0, again.output
    assert len(out.read_text().splitlines()) == 12


@pytest.mark.usefixtures("own_engines")
def test_eval_of_random_lines_says_so(project: Path, tiny_checkpoint: Path) -> None:
    arguments = ["eval", str(project), "--model", str(tiny_checkpoint), "--count", "1"]
    result = CliRunner().invoke(app, arguments)
    assert ONLY_RANDOM in result.output.replace("\n", " ")
    assert DIFFERENCE not in result.output.replace("\n", " ")


@pytest.mark.usefixtures("own_engines")
@pytest.mark.parametrize("name", ["since", "from-git"])
def test_replay_types_added_passages_in_the_older_tree(
    project: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[dict[str, str]] = []
    start_editor = replay_command.editor_with_server

    def record(settings: dict[str, object], roots: list[Path]) -> object:
        files = [path for root in roots for path in sorted(root.glob("*.py"))]
        opened.append({path.name: path.read_text() for path in files})
        return start_editor(settings, roots)

    monkeypatch.setattr(replay_command, "editor_with_server", record)
    rhythm, summary = tmp_path / "rhythm.json", tmp_path / "sums.json"
    rhythm.write_text("[20, 30]")
    arguments = [
        *("replay", str(project), *option(project, name), "--model", str(tiny_checkpoint)),
        *("--files", "2", "--lines", "1", "--rhythm", str(rhythm), "--json", str(summary)),
    ]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert DIFFERENCE in result.output
    assert "random lines" in result.output
    random_files, *older = opened
    assert random_files["a.py"] == NEW
    assert older == [{"a.py": OLD}]
    sums = json.loads(summary.read_text())
    assert sums["passages"] == 1  # git does not track the other file
    assert sums["added"]["passages"] == 1
    assert sums["added"]["plain_keys"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "{v1}", "--from-git", "3"), "either --since or --from-git"),
        (("{v1}", "--since", "{v1}"), "exactly one folder with --since"),
        (("--since", "{v1}/none"), "There is no folder"),
        (("--since", "{project}"), "has no lines that"),
        (("--from-git", "nothing"), "cannot be read"),
        (("--from-git", "0"), "no commit there adds lines"),
        (("--from-git", "HEAD..HEAD"), "Merges"),
    ],
)
def test_options_that_do_not_fit(project: Path, arguments: tuple[str, ...], words: str) -> None:
    places = {"v1": project.parent / "v1", "project": project}
    options = [argument.format(**places) for argument in arguments]
    for command in ("eval", "replay"):
        assert_plain(run(command, str(project), *options, "--model", "demo"), 1, words)


def test_a_file_of_holes_has_no_older_version(project: Path, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text("{}\n")
    process = run("eval", str(tasks), "--since", str(project), "--model", "demo")
    assert process.returncode == 1


def record(sample: Sample, *, exact: bool, language: str = "python") -> Record:
    return Record(
        f"{sample}{exact}", language, "line", "pipeline", "x", exact, 1.0, True, 1.0, sample=sample
    )


def test_the_tables_keep_the_samples_apart(capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        record(Sample.RANDOM, exact=True, language="go"),
        record(Sample.RANDOM, exact=True),
        record(Sample.ADDED, exact=False),
    ]
    print_tables(records, "demo", has_project=True)
    printed = capsys.readouterr().out
    assert "random  pipeline  2      100%   100.0%" in printed
    assert "added   pipeline  1      100%   0.0%" in printed
    assert "of 1 suggestions" in printed
    assert "by language" not in printed  # there is one language in the added lines
    tables = report_json(records)
    assert tables["kind"][0]["exact"] == 1
    assert tables["added"]["kind"][0]["exact"] == 0
    assert headline(records) == records[2:]
    assert headline(records[:2]) == records[:2]
    assert "added" not in report_json(records[:2])


def test_old_results_are_of_random_lines() -> None:
    assert TypingCounts("a", "python", 3).sample == "random"

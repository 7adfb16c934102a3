"""The benchmark of the texts of a prompt: what it compares, and what it makes of the scores."""

import json
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.prompt_text import VARIANTS, Score, problems_of, summarize, without
from benchmarks.prompt_text import main as main_command
from fim.evaluation.holes import Hole
from fim.snapshot import Edit, Excerpt, Problem, Snapshot

SNAPSHOT = Snapshot(
    "u",
    "python",
    "x",
    1,
    excerpts=(Excerpt("a.py", "a"),),
    edits=(Edit("b.py", (), (), ("b",), ()),),
    problems=(Problem(0, "c"),),
)


def test_each_variant_has_its_texts() -> None:
    texts = {}
    for variant in VARIANTS:
        chosen = without(SNAPSHOT, variant)
        texts[variant] = [bool(part) for part in (chosen.excerpts, chosen.edits, chosen.problems)]
    assert texts == {
        "document": [False, False, False],
        "excerpts": [True, False, False],
        "excerpts, edits": [True, True, False],
        "excerpts, diagnostics": [True, False, True],
        "all": [True, True, True],
    }


def test_the_diagnostics_are_those_before_the_line_is_written() -> None:
    hole = Hole("h", "python", "line", "import os\n\nif x:\n    y = ", "os.getcwd()", "\n")
    assert [(each.line, each.message) for each in problems_of(hole)] == [
        (0, "'os' imported but unused"),
        (2, "Undefined name 'x'"),
    ]
    assert problems_of(Hole("h", "go", "line", "import os\n", "x", "")) == ()


def test_gains_are_those_over_the_document_alone() -> None:
    nats = {"h1": [4.0, 3.0], "h2": [2.0, 2.0], "h3": [6.0, 1.0]}
    scores = [
        Score(hole, variant, variant == "excerpts" and hole != "h2", value, 2, value < 2, 10)
        for hole, values in nats.items()
        for variant, value in zip(VARIANTS[:2], values, strict=True)
    ]
    alone, excerpts = summarize([*scores, *_copies(scores, VARIANTS[2:])])[:2]
    assert alone["gain in nats per line"] == 0
    assert excerpts["gain in nats per line"] == pytest.approx(2.0)
    assert excerpts["standard error"] == pytest.approx(7**0.5 / 3**0.5)
    assert (alone["nats per token"], excerpts["nats per token"]) == (2.0, 1.0)
    assert (excerpts["lines"], excerpts["with more text"]) == (3, 2)
    assert excerpts["likeliest"] == pytest.approx(1 / 3)


def _copies(scores: list[Score], variants: tuple[str, ...]) -> list[Score]:
    return [
        Score(score.hole, variant, False, score.nats, score.tokens, False, 10)
        for score in scores
        for variant in variants
        if score.variant == "document"
    ]


def test_the_command_scores_the_lines_that_a_commit_added(tmp_path: Path) -> None:
    folder, results = tmp_path / "repository", tmp_path / "results.json"
    folder.mkdir()
    git = ("git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run((*git, "init", "-q"), check=True)
    for oven, main in (
        ("heat = 1\n", "import oven\n"),
        ("heat = 2\n", "import oven\n\n\n\nx = 2\n"),
    ):
        (folder / "oven.py").write_text(oven)
        (folder / "main.py").write_text(main)
        subprocess.run((*git, "add", "-A"), check=True)
        subprocess.run((*git, "commit", "-qm", "x"), check=True)
    app = typer.Typer()
    app.command()(main_command)
    arguments = [str(folder), "--commits", "1", "--model", "demo", "--json", str(results)]
    result = CliRunner().invoke(app, [*arguments, "--max-tokens", "800"])
    assert result.exit_code == 0
    scores = [Score(**row) for row in json.loads(results.read_text())["scores"]]
    holes = {score.hole for score in scores}
    assert [score.variant for score in scores] == list(VARIANTS) * len(holes)
    reported = [score for score in scores if "main.py" in score.hole and score.has_more]
    assert {"excerpts, diagnostics", "all"} <= {score.variant for score in reported}
    for score in scores:
        assert score.nats > 0
        assert score.prompt_tokens <= 800

"""The holes that the measurements in the model card use."""

import gzip
import json
import random
from pathlib import Path

import pytest

from tests.training.conftest import CODE
from training.collect import CorpusDocument
from training.holes import (
    LineHole,
    code_lines,
    complete_from_earlier_line,
    cut_line,
    match_rate,
    read_human_eval_holes,
    sample_lines,
)


def test_code_lines_are_neither_blank_nor_comment_nor_inside_a_docstring() -> None:
    docstring = '    """One.\n\n    Two.\n    """\n\n'
    text = f"def f():\n{docstring}    # why\n    return (1,\n        # and\n        2)\n"
    assert code_lines(text) == [0, 1, 7, 9]
    assert code_lines("def f(:\n  'no python") == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_a_cut_line_restores_the_file_and_leaves_text_to_complete(share: float) -> None:
    for line in code_lines(CODE):
        hole = cut_line(CODE, line, share)
        assert hole.prefix + hole.middle + hole.suffix == CODE
        assert hole.middle.strip()
        assert hole.suffix.startswith("\n")
        assert hole.prefix.count("\n") == line


def test_lines_are_drawn_by_project_not_by_size() -> None:
    documents = [CorpusDocument("large", f"{n}.py", CODE) for n in range(50)]
    documents += [CorpusDocument("small", "a.py", CODE), CorpusDocument("broken", "b.py", "def (")]
    drawn = sample_lines(documents, 300, random.Random(0))
    assert {d.project for d, _ in drawn} == {"large", "small"}
    assert 100 < sum(d.project == "small" for d, _ in drawn) < 200


@pytest.mark.parametrize(
    ("prefix", "rest"),
    [
        ("a = 1\nb = 2\n    a", " = 1"),
        ("a = 1\na = 2\na =", " 2"),
        ("a = 1\nzz", ""),
        ("first\n\n    ", "first"),
        ("nothing", ""),
    ],
)
def test_the_baseline_repeats_the_latest_line_with_the_same_start(prefix: str, rest: str) -> None:
    assert complete_from_earlier_line(LineHole(prefix, "", "")) == rest


def test_a_match_compares_one_line_and_ignores_white_space_at_its_ends() -> None:
    holes = [LineHole("", "  x = 1\n", "")] * 4
    assert match_rate(holes, ["x = 1", "  x = 1 \ny = 2", "x = 12", "\nx = 1"]) == 0.5


def test_human_eval_holes_are_read(tmp_path: Path) -> None:
    row = {"prompt": "def f():\n", "canonical_solution": "    return 1\n", "suffix": "", "test": ""}
    file = tmp_path / "tasks.jsonl.gz"
    file.write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))
    assert read_human_eval_holes(file) == [LineHole("def f():\n", "    return 1\n", "")]

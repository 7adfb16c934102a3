"""StarCoder's formats: tokens are tokens, text stays text."""

import json
import random
import subprocess
from pathlib import Path

import pytest
import tokenizers

from training.formats import (
    Cell,
    Comment,
    Commit,
    Token,
    around_change,
    cells_of,
    commit,
    header,
    ids_of,
    issue,
    notebook,
    star_range,
)
from training.history import commits


def shown(segments: list[Token | str]) -> str:
    return "".join(s.name if isinstance(s, Token) else s for s in segments)


def test_text_that_spells_a_token_is_no_token(tokenizer: tokenizers.Tokenizer) -> None:
    ids = ids_of([Token("<filename>"), "<filename>"], tokenizer)
    assert ids[0] == tokenizer.token_to_id("<filename>")
    assert ids[0] not in ids[1:]
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<filename><filename>"


def test_a_token_that_is_none_is_an_error(tokenizer: tokenizers.Tokenizer) -> None:
    with pytest.raises(ValueError, match="<nothing>"):
        ids_of([Token("<nothing>")], tokenizer)


def test_a_header_shows_what_is_known() -> None:
    rng = random.Random(0)
    assert shown(header(rng, "me/it", "a.py", 7, rate=1)) == (
        "<reponame>me/it<filename>a.py<gh_stars>1-10\n"
    )
    assert shown(header(rng, "me/it", "a.py", rate=1)) == "<reponame>me/it<filename>a.py\n"
    assert header(rng, "me/it", "a.py", rate=0) == []


def test_each_part_of_a_header_is_drawn_apart() -> None:
    rng = random.Random(1)
    made = [shown(header(rng, "r", "f")) for _ in range(4000)]
    names = sum("<reponame>" in text for text in made), sum("<filename>" in text for text in made)
    assert all(680 < count < 920 for count in names), names
    assert sum(text == "<reponame>r<filename>f\n" for text in made) > 100


@pytest.mark.parametrize(
    ("stars", "name"), [(0, "0"), (1, "1-10"), (10, "1-10"), (11, "10-100"), (99999, "1000+")]
)
def test_stars_are_ranges(stars: int, name: str) -> None:
    assert star_range(stars) == name


def test_a_notebook_marks_what_printed_nothing() -> None:
    cells = [Cell("text", "Add."), Cell("code", "x = 1"), Cell("code", "x"), Cell("output", "1")]
    assert shown(notebook(cells)) == (
        "<jupyter_start><jupyter_text>Add.<jupyter_code>x = 1<empty_output>"
        "<jupyter_code>x<jupyter_output>1<|endoftext|>"
    )


def test_cells_of_a_notebook_file() -> None:
    file = {
        "cells": [
            {"cell_type": "markdown", "source": ["# A\n", "text"]},
            {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["2"]}}]},
            {"cell_type": "code", "source": " ", "outputs": []},
        ]
    }
    found = cells_of(json.dumps(file))
    assert found == [Cell("text", "# A\ntext"), Cell("code", "1 + 1"), Cell("output", "2")]
    for bad in ("[]", "{}", "no json"):
        with pytest.raises(ValueError):
            cells_of(bad)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_left_around_a_change_holds_the_change(seed: int) -> None:
    rng = random.Random(seed)
    before = [f"line {rng.randrange(9)}\n" for _ in range(rng.randrange(1, 60))]
    after = list(before)
    at = rng.randrange(len(after))
    after[at : at + rng.randrange(3)] = ["new\n"] * rng.randrange(1, 3)
    whole_before, whole_after = "".join(before), "".join(after)
    old, new = around_change(whole_before, whole_after, 3)
    assert whole_before.replace(old, new, 1) == whole_after or old in whole_before
    assert len(old.splitlines()) <= 3 + 3 + 3
    assert around_change(whole_before, whole_after, 99) == (whole_before, whole_after)


def test_a_commit_and_an_issue() -> None:
    change = Commit(" Fix it \n", "a\n", "b\n")
    text = shown(commit(change, random.Random(0)))
    assert text == "<commit_before>a\n<commit_msg>Fix it<commit_after>b\n<|endoftext|>"
    said = [Comment("ann", "It breaks."), Comment("bob", "How?"), Comment("ann", "Never mind.")]
    assert shown(issue("Bug", said, closed=True)) == (
        "<issue_start>Title: Bug\nusername_0: It breaks.<issue_comment>username_1: How?"
        "<issue_comment>username_0: Never mind.<issue_closed><|endoftext|>"
    )


def test_commits_come_from_a_history(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    git("init", "-q")
    for number, text in enumerate(("x = 1\n", "x = 2\n", "x = 3\n")):
        (tmp_path / "a.py").write_text(text)
        if number == 2:
            (tmp_path / "b.py").write_text(text)
        git("add", ".")
        git("commit", "-qm", f"Change {number}\n\nBecause.")
    (tmp_path / "b.py").write_text("x = 4\n")
    git("commit", "-qam", "Change b")
    # The first commit adds, the third touches two files: neither says what one change was for.
    assert list(commits(tmp_path)) == [
        Commit("Change b", "x = 3\n", "x = 4\n"),
        Commit("Change 1", "x = 1\n", "x = 2\n"),
    ]
    assert list(commits(tmp_path / "nothing")) == []

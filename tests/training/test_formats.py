"""StarCoder's formats: special tokens are encoded as ids, and text stays text."""

import json
import random
import subprocess
from pathlib import Path

import pytest
import tokenizers

from training.formats import (
    Commit,
    IssueComment,
    NotebookCell,
    SpecialToken,
    commit_segments,
    crop_to_change,
    encode_documents,
    encode_segments,
    header_segments,
    issue_segments,
    notebook_segments,
    parse_notebook,
    star_range,
)
from training.history import read_commits


def text_of(segments: list[SpecialToken | str]) -> str:
    return "".join(s.name if isinstance(s, SpecialToken) else s for s in segments)


def test_text_with_the_name_of_a_special_token_stays_text(tokenizer: tokenizers.Tokenizer) -> None:
    ids = encode_segments([SpecialToken("<filename>"), "<filename>"], tokenizer)
    assert ids[0] == tokenizer.token_to_id("<filename>")
    assert ids[0] not in ids[1:]
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<filename><filename>"


def test_an_unknown_special_token_is_an_error(tokenizer: tokenizers.Tokenizer) -> None:
    with pytest.raises(ValueError, match="<nothing>"):
        encode_segments([SpecialToken("<nothing>")], tokenizer)


def test_a_header_contains_the_given_values() -> None:
    rng = random.Random(0)
    assert text_of(header_segments(rng, "me/it", "a.py", 7, rate=1)) == (
        "<reponame>me/it<filename>a.py<gh_stars>1-10\n"
    )
    assert (
        text_of(header_segments(rng, "me/it", "a.py", rate=1)) == "<reponame>me/it<filename>a.py\n"
    )
    assert header_segments(rng, "me/it", "a.py", rate=0) == []


def test_each_part_of_a_header_is_drawn_independently() -> None:
    rng = random.Random(1)
    headers = [text_of(header_segments(rng, "r", "f")) for _ in range(4000)]
    names = (
        sum("<reponame>" in text for text in headers),
        sum("<filename>" in text for text in headers),
    )
    assert all(680 < count < 920 for count in names), names
    assert sum(text == "<reponame>r<filename>f\n" for text in headers) > 100


@pytest.mark.parametrize(
    ("stars", "name"), [(0, "0"), (1, "1-10"), (10, "1-10"), (11, "10-100"), (99999, "1000+")]
)
def test_stars_are_shown_as_ranges(stars: int, name: str) -> None:
    assert star_range(stars) == name


def test_a_notebook_marks_code_without_output() -> None:
    cells = [
        NotebookCell("text", "Add."),
        NotebookCell("code", "x = 1"),
        NotebookCell("code", "x"),
        NotebookCell("output", "1"),
    ]
    assert text_of(notebook_segments(cells)) == (
        "<jupyter_start><jupyter_text>Add.<jupyter_code>x = 1<empty_output>"
        "<jupyter_code>x<jupyter_output>1<|endoftext|>"
    )


def test_a_notebook_file_is_parsed_to_cells() -> None:
    file = {
        "cells": [
            {"cell_type": "markdown", "source": ["# A\n", "text"]},
            {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["2"]}}]},
            {"cell_type": "code", "source": " ", "outputs": []},
        ]
    }
    assert parse_notebook(json.dumps(file)) == [
        NotebookCell("text", "# A\ntext"),
        NotebookCell("code", "1 + 1"),
        NotebookCell("output", "2"),
    ]
    for bad in ("[]", "{}", "no json"):
        with pytest.raises(ValueError):
            parse_notebook(bad)


@pytest.mark.parametrize("seed", range(20))
def test_a_cropped_change_contains_the_change(seed: int) -> None:
    rng = random.Random(seed)
    before = [f"line {rng.randrange(9)}\n" for _ in range(rng.randrange(1, 60))]
    after = list(before)
    start = rng.randrange(len(after))
    after[start : start + rng.randrange(3)] = ["new\n"] * rng.randrange(1, 3)
    whole_before, whole_after = "".join(before), "".join(after)
    old, new = crop_to_change(whole_before, whole_after, 3)
    assert whole_before.replace(old, new, 1) == whole_after or old in whole_before
    assert len(old.splitlines()) <= 3 + 3 + 3
    assert crop_to_change(whole_before, whole_after, 99) == (whole_before, whole_after)


def test_a_commit_and_an_issue_have_starcoders_format() -> None:
    commit = Commit(" Fix it \n", "a\n", "b\n")
    text = text_of(commit_segments(commit, random.Random(0)))
    assert text == "<commit_before>a\n<commit_msg>Fix it<commit_after>b\n<|endoftext|>"
    comments = [
        IssueComment("ann", "It breaks."),
        IssueComment("bob", "How?"),
        IssueComment("ann", "Never mind."),
    ]
    assert text_of(issue_segments("Bug", comments, is_closed=True)) == (
        "<issue_start>Title: Bug\nusername_0: It breaks.<issue_comment>username_1: How?"
        "<issue_comment>username_0: Never mind.<issue_closed><|endoftext|>"
    )


def test_commits_are_read_from_a_git_history(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    git("init", "-q")
    for number, text in enumerate(("x = 1\n", "x = 2\n", "x = 3\n")):
        (tmp_path / "a.py").write_text(text)
        if number == 2:
            (tmp_path / "b.py").write_text(text)
        git("add", ".")
        git("commit", "-qm", f"Change {number}\n\nBecause.")
    (tmp_path / "b.py").write_text("x = 4\n")
    git("commit", "-qam", "Change b")
    # The first commit adds a file and the third changes two: neither describes one change.
    assert list(read_commits(tmp_path)) == [
        Commit("Change b", "x = 3\n", "x = 4\n"),
        Commit("Change 1", "x = 1\n", "x = 2\n"),
    ]
    assert list(read_commits(tmp_path / "nothing")) == []


def test_documents_are_encoded_in_one_call_as_they_are_alone(
    tokenizer: tokenizers.Tokenizer,
) -> None:
    documents = [["größe 🚀", SpecialToken("<filename>"), "a.py"], [], ["x = 1\n"]]
    alone = [encode_segments(document, tokenizer) for document in documents]
    assert encode_documents(documents, tokenizer) == alone
    broken = encode_documents([["half of a pair: \ud83d"]], tokenizer)
    assert tokenizer.decode(broken[0]) == "half of a pair: ?"

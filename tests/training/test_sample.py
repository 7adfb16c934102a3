"""A sample of a corpus has the chosen share of Python, and all rows that are not documents."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from training.collect import CorpusDocument
from training.corpus import load_held_out, load_train, read_rows, write_json_lines
from training.sample import sample_documents, write_sample

LANGUAGES = {"python": "py", "go": "go", "rust": "rs"}
SIZE = 100
"""Characters of a document."""


def documents(count: int = 300) -> list[CorpusDocument]:
    """Return documents, half of them Python, a quarter Go and a quarter Rust."""
    suffixes = ("py", "go", "py", "rs")
    return [
        CorpusDocument("project", f"{number}.{suffixes[number % 4]}", f"{number:0{SIZE}}")
        for number in range(count)
    ]


def characters(chosen: list[CorpusDocument], language: str) -> int:
    return sum(len(document.text) for document in chosen if document.language == language)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 1.0])
def test_a_sample_has_the_chosen_share_of_python(share: float) -> None:
    chosen = sample_documents(documents(), 10_000, share, seed=1)
    assert characters(chosen, "python") == pytest.approx(10_000 * share, abs=SIZE)
    assert sum(len(document.text) for document in chosen) == pytest.approx(10_000, abs=2 * SIZE)


def test_other_languages_keep_their_shares() -> None:
    chosen = sample_documents(documents(2000), 50_000, 0.2, seed=1)
    assert characters(chosen, "go") == pytest.approx(characters(chosen, "rust"), rel=0.2)


def test_a_sample_has_no_document_twice_and_never_more_than_requested() -> None:
    for size in (0, 50, 1050, 9990, 10**6):
        chosen = sample_documents(documents(), size, 0.6, seed=2)
        assert len({document.path for document in chosen}) == len(chosen)
        assert characters(chosen, "python") <= 0.6 * size
        assert sum(len(document.text) for document in chosen) <= size
    assert len(chosen) == 300


def test_a_small_document_is_chosen_where_a_large_one_is_too_large() -> None:
    large = CorpusDocument("project", "large.py", "x" * 1000)
    small = CorpusDocument("project", "small.py", "x" * 10)
    for order in ([large, small], [small, large]):
        assert sample_documents(order, 100, 1.0, seed=0) == [small]


def test_the_seed_determines_the_sample() -> None:
    first, same, other = (sample_documents(documents(), 5000, 0.6, seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_the_files_of_a_sample_are_those_of_a_corpus(corpus: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "new" / "sample"
    source.mkdir()
    for name in ("dialogues", "notebooks", "commits", "held_out"):
        write_json_lines(source / f"{name}.jsonl", read_rows(corpus, name))
    write_json_lines(source / "train.jsonl", map(asdict, documents()))
    (source / "tokenizer.json").write_bytes((corpus / "tokenizer.json").read_bytes())
    (source / "corpus.json").write_text(json.dumps({"projects": {}}), encoding="utf-8")
    sizes = write_sample(source, target, 8000, 0.5, seed=3)
    train = list(load_train(target))
    assert sizes == {language: characters(train, language) for language in LANGUAGES}
    assert sizes["python"] == 4000
    assert set(map(str, train)) < set(map(str, documents()))
    assert list(load_held_out(target)) == list(load_held_out(source))
    for file in source.iterdir():
        if file.name != "train.jsonl":
            assert (target / file.name).read_bytes() == file.read_bytes(), file.name

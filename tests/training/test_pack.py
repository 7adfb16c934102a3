"""A pack is read like the corpus that it was made of, and its parts have a maximum size."""

import shutil
from pathlib import Path

import pytest

from training import pack
from training.corpus import (
    load_commits,
    load_dialogues,
    load_held_out,
    load_notebooks,
    load_train,
    read_rows,
)


def test_a_pack_has_the_rows_of_its_corpus(corpus: Path, tmp_path: Path) -> None:
    files = pack.write_pack(corpus_with_report(corpus, tmp_path), tmp_path / "pack", num_workers=1)
    assert all(file.parent == tmp_path / "pack" for file in files)
    packed = tmp_path / "pack"
    assert not list(packed.glob("*.jsonl"))
    for load in (load_train, load_held_out):
        assert sorted(map(repr, load(packed))) == sorted(map(repr, load(corpus)))
    assert list(load_commits(packed)) == list(load_commits(corpus))
    assert list(load_notebooks(packed)) == list(load_notebooks(corpus))
    assert list(load_dialogues(packed)) == list(load_dialogues(corpus))
    assert (packed / "tokenizer.json").read_bytes() == (corpus / "tokenizer.json").read_bytes()


def test_documents_of_a_pack_are_sorted_over_all_parts(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "PART_BYTES", 3000)
    pack.write_pack(corpus_with_report(corpus, tmp_path), tmp_path / "pack", num_workers=1)
    assert len(list((tmp_path / "pack").glob("train-*.jsonl.xz"))) > 1
    paths = [document.path for document in load_train(tmp_path / "pack")]
    assert paths == sorted(paths)


def test_a_part_that_is_too_large_is_an_error(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MAX_PART_BYTES", 100)
    with pytest.raises(ValueError, match="lower PART_BYTES"):
        pack.write_pack(corpus_with_report(corpus, tmp_path), tmp_path / "pack", num_workers=1)


def test_a_folder_without_a_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m training collect"):
        read_rows(tmp_path, "train")


def corpus_with_report(corpus: Path, folder: Path) -> Path:
    copy = Path(shutil.copytree(corpus, folder / "corpus"))
    (copy / "corpus.json").write_text("{}", encoding="utf-8")
    return copy

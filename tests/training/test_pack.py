"""A pack is read like the corpus that it was made of, and its parts have a maximum size."""

import shutil
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import pytest
from accelerate import PartialState

from training import pack
from training.collect import CorpusDocument
from training.corpus import (
    load_commits,
    load_dialogues,
    load_held_out,
    load_notebooks,
    load_train,
    read_files,
    read_rows,
    write_json_lines,
)
from training.demo_run import DemoRunOptions, demo_run


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


def test_the_documents_of_a_project_are_together(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "PART_BYTES", 3000)
    pack.write_pack(corpus_with_report(corpus, tmp_path), tmp_path / "pack", num_workers=1)
    assert len(list((tmp_path / "pack").glob("train-*.jsonl.xz"))) > 1
    projects = [document.project for document in load_train(tmp_path / "pack")]
    assert len([name for name, _ in groupby(projects)]) == len(set(projects))


def test_every_part_has_all_languages(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts by language once made a run that saw no Python: the other parts were not there."""
    folder = corpus_with_report(corpus, tmp_path)
    documents = [
        CorpusDocument(f"project-{number}", f"file{suffix}", "x = 1\n" * 40)
        for number in range(60)
        for suffix in (".py", ".go")
    ]
    write_json_lines(folder / "train.jsonl", map(asdict, documents))
    monkeypatch.setattr(pack, "PART_BYTES", 12_000)
    parts = [f for f in pack.write_pack(folder, tmp_path / "pack", 1) if f.name.startswith("train")]
    assert len(parts) > 2
    for part in parts:
        assert {Path(row["path"]).suffix for row in read_files([part])} == {".py", ".go"}


@pytest.mark.parametrize("name", ["train-00.jsonl.xz", "tokenizer.json"])
def test_a_pack_with_a_missing_or_damaged_file_is_refused(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "pack"
    pack.write_pack(corpus_with_report(corpus, tmp_path), folder, num_workers=1)
    pack.check_pack(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=name):
        pack.check_pack(folder)
    (folder / name).unlink()
    options = DemoRunOptions(tmp_path / "run", folder, minutes=0.1)
    with pytest.raises(ValueError, match=f"not complete: {name}"), demo_run(options, cpu_state()):
        pass


def test_a_corpus_that_is_no_pack_is_not_checked(corpus: Path) -> None:
    pack.check_pack(corpus)


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


def cpu_state() -> PartialState:
    return PartialState(cpu=True)

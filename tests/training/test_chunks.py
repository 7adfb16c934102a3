"""Chunks depend only on their number, use all documents, and are made by any process."""

import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from training.blocks import BLOCK_CHARACTERS, Blocks, write_blocks
from training.corpus import load_train
from training.packing import PAD
from training.recipe import STAGES
from training.workers import ChunkSettings, ChunkWorkers


@pytest.fixture
def settings(corpus: Path, tmp_path: Path) -> ChunkSettings:
    return ChunkSettings(corpus, tmp_path / "blocks", STAGES, length=256, seed=0, chunk_bytes=4000)


def test_blocks_contain_all_text_of_plain_and_of_packed_corpora(
    corpus: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    lines = (corpus / "train.jsonl").read_text().splitlines(keepends=True)
    for number in range(2):
        with lzma.open(packed / f"train-{number:02}.jsonl.xz", "wt") as part:
            part.writelines(lines[number::2])
    texts = {document.path: document.text for document in load_train(corpus)}
    for source in (corpus, packed):
        write_blocks(source, tmp_path / f"{source.name}-blocks", 1)
        blocks = Blocks(tmp_path / f"{source.name}-blocks")
        assert {blocks.document(n).path: blocks.text(n) for n in range(len(blocks))} == texts


def test_a_long_document_is_cut_at_line_ends(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    shutil.copytree(corpus, folder)
    text = "".join(f"line {n}: größe\n" for n in range(5000))
    row = f'{{"project": "p", "path": "a.py", "text": {text!r}}}\n'.replace("'", '"')
    (folder / "train.jsonl").write_text(row)
    write_blocks(folder, tmp_path / "blocks", 1)
    blocks = Blocks(tmp_path / "blocks")
    cut = [blocks.text(number) for number in range(len(blocks))]
    assert "".join(cut) == text
    assert all(block.endswith("\n") for block in cut)
    assert len(cut) == pytest.approx(len(text) / BLOCK_CHARACTERS, abs=1)


def test_workers_make_the_same_chunks_as_this_process(
    settings: ChunkSettings, tmp_path: Path
) -> None:
    alone = ChunkWorkers(settings, tmp_path / "alone", 0)
    workers = ChunkWorkers(settings, tmp_path / "chunks", 2)
    numbers = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 5)]
    try:
        for stage, number in numbers:
            expected = alone.chunk(stage, number)
            assert (workers.chunk(stage, number) == expected).all()
            assert expected.shape[1] == 256
    finally:
        workers.close()


def test_chunks_of_workers_that_died_are_made_by_the_trainer(
    settings: ChunkSettings, tmp_path: Path
) -> None:
    messages: list[str] = []
    workers = ChunkWorkers(settings, tmp_path / "chunks", 1, messages.append)
    workers.close()
    expected = settings.maker().make(0, 40)
    assert (workers.chunk(0, 40) == expected).all()
    assert "has ended" in messages[0]


def test_an_epoch_uses_each_document_and_the_next_has_other_holes(
    settings: ChunkSettings, tokenizer: tokenizers.Tokenizer
) -> None:
    write_blocks(settings.corpus, settings.blocks, 1)
    maker = settings.maker()
    epoch = [maker.make(0, number) for number in range(maker.chunks_per_epoch)]
    ids = np.concatenate([rows.flatten() for rows in epoch])
    text = tokenizer.decode(ids[ids != PAD].tolist())
    assert all(f"Stack{n}" in text for n in range(12))
    following = maker.make(0, maker.chunks_per_epoch)
    assert following.shape != epoch[0].shape or (following != epoch[0]).any()


def test_dialogues_have_their_share(
    settings: ChunkSettings, tokenizer: tokenizers.Tokenizer
) -> None:
    write_blocks(settings.corpus, settings.blocks, 1)
    maker, user = settings.maker(), tokenizer.token_to_id("<|user|>")
    assert (maker.make(0, 0) != user).all()
    assert (maker.make(1, 0) == user).any()

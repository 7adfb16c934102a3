"""Training has the form of completion, for every family of special tokens."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UnsupportedModelError
from engine.loading.trainable import TrainableModel
from engine.model_config import require_architecture
from engine.tokenizer import Tokenizer
from fim.prompt.build import build
from fim.snapshot import Snapshot
from fim.training.examples import ExampleEncoder, without_partial_token
from fim.training.rows import PADDING, encode_piece, make_rows
from tests.architecture_checkpoints import CONFIGS
from tests.fim.prompt.test_families import FAMILIES, tokenizer_of
from tests.fim.training.repositories import source
from tests.llama_checkpoint import tokenizer_json
from training.collect import CorpusDocument
from training.holes import LineHole

DOCUMENTS = [CorpusDocument("project", f"src/{n}.py", source(n)) for n in range(8)]
HOLE = LineHole("import os\n\n\ndef f():\n    ret", "urn 1", "\n\n\nf()\n", "project", "src/f.py")


def model(folder: Path, tokenizer: str, **config: Any) -> TrainableModel:
    content = CONFIGS["llama"]().to_dict() | {"eos_token_id": None} | config
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return TrainableModel("m", folder, content, require_architecture(content))


def encoder(folder: Path, tokenizer: str, **config: Any) -> ExampleEncoder:
    return ExampleEncoder.for_model(model(folder, tokenizer, **config))


def ids_of(tokenizer: Tokenizer, names: Sequence[str]) -> list[int]:
    return [id_ for name in names if (id_ := tokenizer.token_id(name)) is not None]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_example_is_the_prompt_of_completion_with_middle_and_end(
    name: str, tmp_path: Path
) -> None:
    maker = encoder(tmp_path, tokenizer_of(*FAMILIES[name]).to_json(), eos_token_id=[200, 2])
    assert maker.family.name == name
    tokenizer, snapshot = maker.tokenizer, Snapshot("u", "p", HOLE.prefix + HOLE.suffix, 28)
    assert snapshot.before == HOLE.prefix
    prompt = build(snapshot, maker.family, tokenizer.encode, 900, "line", tokenizer.encode_start)
    ids = maker.filled_hole(HOLE, 900)
    assert ids == [*prompt, *tokenizer.encode("urn 1"), ids[-1]]
    assert ids[-1] in maker.family.stop_ids | {200}
    assert maker.family.fim is not None
    assert all(ids.count(id_) == 1 for id_ in maker.family.fim.ids)
    assert maker.text("a\n") == [*maker.family.start, *tokenizer.encode("a\n"), maker.text_end]


@pytest.mark.parametrize(
    ("names", "text_end", "middle_end"),
    [
        (FAMILIES["Code Llama"], "</s>", "▁<EOT>"),
        (FAMILIES["Qwen-Coder"], "<|endoftext|>", "<|endoftext|>"),
        (FAMILIES["Granite 4"], "<|end_of_text|>", "<|end_of_text|>"),
        (FAMILIES["Codestral"], "</s>", "</s>"),
        (FAMILIES["Seed-Coder"], "<[end▁of▁sentence]>", "<[end▁of▁sentence]>"),
    ],
)
def test_each_family_has_its_own_ends(
    names: Sequence[str], text_end: str, middle_end: str, tmp_path: Path
) -> None:
    maker = encoder(tmp_path, tokenizer_of(*names).to_json())
    assert maker.text("a")[-1] == maker.tokenizer.token_id(text_end)
    assert maker.filled_hole(HOLE, 900)[-1] == maker.tokenizer.token_id(middle_end)
    assert {maker.text("a")[-1], maker.filled_hole(HOLE, 900)[-1]} <= maker.end_ids


def test_a_model_without_fill_in_the_middle_is_trained_left_to_right(tmp_path: Path) -> None:
    maker = encoder(tmp_path, tokenizer_of("<|endoftext|>").to_json())
    assert not maker.has_holes
    assert list(maker.prompt(HOLE, 900)) == maker.tokenizer.encode(HOLE.prefix)
    for seed in range(30):
        ids = encode_piece(DOCUMENTS[0].text, DOCUMENTS[0], maker, 900, random.Random(seed))
        assert ids == maker.text(DOCUMENTS[0].text)


def test_a_model_without_a_known_end_uses_that_of_its_config(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("<unusual>").to_json()
    assert encoder(tmp_path, tokenizer, eos_token_id=[7, 8]).text("a")[-1] == 7
    assert 7 in encoder(tmp_path, tokenizer, eos_token_id=7).end_ids
    with pytest.raises(UnsupportedModelError, match="eos_token_id"):
        encoder(tmp_path, tokenizer)


def test_the_form_is_that_of_the_config(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(*FAMILIES["StarCoder"]).to_json()
    maker = encoder(tmp_path, tokenizer, fim_form="suffix-first")
    prefix, suffix, middle = ids_of(
        maker.tokenizer, ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    )
    encode = maker.tokenizer.encode
    expected = [prefix, suffix, *encode(HOLE.suffix), middle, *encode(HOLE.prefix)]
    assert list(maker.prompt(HOLE, 900)) == expected
    assert encoder(tmp_path, tokenizer, fim_form="other").form == "line"


@pytest.mark.parametrize(("positions", "has_header"), [(4095, False), (4096, True)])
def test_a_model_that_sees_other_files_gets_the_path(
    positions: int, has_header: bool, tmp_path: Path
) -> None:
    tokenizer = tokenizer_of(*FAMILIES["Qwen-Coder"]).to_json()
    maker = encoder(tmp_path, tokenizer, max_position_embeddings=positions)
    text = maker.tokenizer.decode(maker.prompt(HOLE, 900), skip_special=False)
    header = "<|repo_name|>project<|file_sep|>src/f.py\n<|fim_prefix|>"
    assert text.startswith(header if has_header else "<|fim_prefix|>")
    assert ("src/f.py" in text) == has_header


def test_a_sentencepiece_text_has_one_dummy_space_at_its_start(tmp_path: Path) -> None:
    maker = encoder(tmp_path, tokenizer_json("legacy"))
    tokenizer = maker.tokenizer
    start, end = ids_of(tokenizer, ("<s>", "</s>"))
    assert maker.text("def f():") == [start, *tokenizer.encode(" def f():"), end]
    assert maker.measured_text("x = 1") == ([start, *tokenizer.encode(" x = 1")], 1)
    # The middle continues the prompt without a space.
    hole = LineHole("def f(x):\n    return ", "x", "\n")
    before = maker.prompt(hole, 900)
    assert maker.filled_hole(hole, 900)[len(before) : -1] == tokenizer.encode("x")


def test_special_tokens_in_a_document_stay_text(tmp_path: Path) -> None:
    maker = encoder(tmp_path, tokenizer_of(*FAMILIES["Qwen-Coder"]).to_json())
    text = 'A = "<|fim_prefix|>"\nB = "<|fim_middle|>"\nC = "<|endoftext|>"\n' * 4
    document = CorpusDocument("p", "a.py", text)
    special = set(maker.tokenizer.special_tokens.values())
    for seed in range(40):
        ids = encode_piece(text, document, maker, 2000, random.Random(seed))
        assert len([id_ for id_ in ids if id_ in special]) in (1, 4)


def test_a_middle_that_does_not_fit_gives_no_example(tmp_path: Path) -> None:
    maker = encoder(tmp_path, tokenizer_of(*FAMILIES["Qwen-Coder"]).to_json())
    hole = LineHole("a", "b" * 50, "c")
    assert maker.filled_hole(hole, 51) == []
    assert 0 < len(maker.filled_hole(hole, 80)) <= 80


def test_a_hole_can_begin_with_the_partial_token() -> None:
    assert without_partial_token(HOLE).prefix == "import os\n\n\ndef f():\n   "
    assert without_partial_token(HOLE).middle == " return 1"
    indented = LineHole("def f():\n    ", "return 1", "\n")
    assert without_partial_token(indented) == indented


def test_half_of_the_holes_begin_with_the_partial_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tokenizer_of(*FAMILIES["Qwen-Coder"]).to_json()
    maker = encoder(tmp_path, tokenizer, fim_form="cursor")
    document = CorpusDocument("p", "a.py", "result = mean(numbers)\n")
    (middle_id,) = ids_of(maker.tokenizer, ("<|fim_middle|>",))

    def holes_within_words() -> int:
        """The number of holes whose middle begins within `result`."""
        count = 0
        for seed in range(600):
            ids = encode_piece(document.text, document, maker, 900, random.Random(seed))
            middle = maker.tokenizer.decode(ids[ids.index(middle_id) :] if middle_id in ids else [])
            count += any(middle.lstrip().startswith("result"[n:] + " =") for n in range(1, 6))
        return count

    shipped = holes_within_words()
    monkeypatch.setattr("fim.training.rows._HEALED_SHARE", 1)
    assert holes_within_words() == 0
    monkeypatch.setattr("fim.training.rows._HEALED_SHARE", 0)
    assert 0.3 < shipped / holes_within_words() < 0.7


def test_rows_contain_whole_examples_of_large_ids(tmp_path: Path) -> None:
    """Vocabularies of more than 65,535 tokens are usual, and padding is no token."""
    content = json.loads(tokenizer_of(*FAMILIES["Qwen-Coder"]).to_json())
    shift = 100_000
    content["model"]["vocab"] = {n: i + shift for n, i in content["model"]["vocab"].items()}
    for token in content["added_tokens"]:
        token["id"] += shift
    maker = encoder(tmp_path, json.dumps(content))
    rows = make_rows(DOCUMENTS, maker, 512, 0)
    assert rows.shape[1] == 512
    assert set(rows[rows < shift].tolist()) == {PADDING}
    assert PADDING < 0
    padding = rows == PADDING
    assert not (padding[:, :-1] & ~padding[:, 1:]).any()
    ends = int((rows == maker.text_end).sum())
    starts = sum(int((rows == id_).sum()) for id_ in (shift + 1,))
    assert 0.7 < starts / ends < 0.9
    assert make_rows(DOCUMENTS, maker, 512, 0).equal(rows)
    assert not make_rows(DOCUMENTS, maker, 512, 1).equal(rows)


def test_text_that_fits_no_sequence_is_refused(tmp_path: Path) -> None:
    maker = encoder(tmp_path, tokenizer_of("<|endoftext|>").to_json())
    with pytest.raises(ValueError, match="no text that fits"):
        make_rows([CorpusDocument("p", "a.py", "é" * 400)], maker, 4, 0)

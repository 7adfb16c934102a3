"""For every kind of hole, prefix, middle and suffix restore the document."""

import random

import pytest
import tokenizers

from tests.training.conftest import CODE
from training.fim import (
    OTHER_HOLES,
    FimIds,
    FimOptions,
    HoleFunction,
    hole_functions,
    indented_block,
    rest_of_line,
    transformed_segments,
    whole_lines,
)
from training.formats import encode_segments
from training.tokenizer import encode

TEXTS = (
    CODE,
    CODE.rstrip("\n"),
    "x",
    "\n",
    "    \n\n  \t\n",
    "a = 1\r\nb = 2\r\n",
    "\f\n\tif x:\n",
)
KINDS = [rest_of_line, *(kind for kind, _ in OTHER_HOLES)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_a_hole_is_within_the_text(kind: HoleFunction, text: str) -> None:
    for seed in range(50):
        start, end = kind(text, random.Random(seed))
        assert 0 <= start <= end <= len(text)


@pytest.mark.parametrize("share", [0.0, 0.45, 1.0])
def test_the_shares_of_the_kinds_add_up_to_one(share: float) -> None:
    kinds, shares = hole_functions(FimOptions(rest_of_line_rate=share))
    assert list(kinds) == KINDS
    assert shares[0] == share
    assert sum(shares) == pytest.approx(1)


def transformed(
    text: str, tokenizer: tokenizers.Tokenizer, options: FimOptions, rng: random.Random
) -> list[int]:
    return encode_segments(transformed_segments(text, options, rng), tokenizer)


def split_at_hole(
    ids: list[int], fim: FimIds, tokenizer: tokenizers.Tokenizer
) -> tuple[str, str, bool]:
    """Return the text before and after the end of the hole, and whether the order is PSM."""
    assert ids[0] == fim.prefix
    assert ids[-1] == fim.end
    assert [ids.count(i) for i in (fim.prefix, fim.suffix, fim.middle, fim.end)] == [1, 1, 1, 1]
    suffix, middle = ids.index(fim.suffix), ids.index(fim.middle)
    assert suffix < middle
    before = ids[1:suffix] + ids[middle + 1 : -1]
    return tokenizer.decode(before), tokenizer.decode(ids[suffix + 1 : middle]), suffix > 1


@pytest.mark.parametrize(
    ("spm_rate", "line_rate"), [(0, 0), (1, 0), (0, 1)], ids=["PSM", "SPM", "PSM by line"]
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_order_restores_the_document(
    kind: HoleFunction,
    spm_rate: float,
    line_rate: float,
    tokenizer: tokenizers.Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.fim.hole_functions", lambda options: ((kind,), (1.0,)))
    fim = FimIds.from_tokenizer(tokenizer)
    options = FimOptions(rate=1, spm_rate=spm_rate, line_rate=line_rate, empty_suffix_rate=0)
    seen_psm = False
    for seed in range(40):
        ids = transformed(CODE, tokenizer, options, random.Random(seed))
        before, after, psm = split_at_hole(ids, fim, tokenizer)
        assert before + after == CODE
        seen_psm |= psm
    assert seen_psm == (spm_rate == 0)


def test_special_tokens_in_the_document_stay_text(tokenizer: tokenizers.Tokenizer) -> None:
    fim = FimIds.from_tokenizer(tokenizer)
    text = 'S = "<fim_prefix><fim_suffix>"\nM = "<fim_middle>"\nE = "<|endoftext|>"\n'
    options = FimOptions(rate=1, empty_suffix_rate=0)
    for seed in range(40):
        before, after, _ = split_at_hole(
            transformed(text, tokenizer, options, random.Random(seed)), fim, tokenizer
        )
        assert before + after == text


def test_with_an_empty_suffix_only_prefix_and_middle_remain(
    tokenizer: tokenizers.Tokenizer,
) -> None:
    fim = FimIds.from_tokenizer(tokenizer)
    options = FimOptions(rate=1, empty_suffix_rate=1)
    for seed in range(20):
        before, after, _ = split_at_hole(
            transformed(CODE, tokenizer, options, random.Random(seed)), fim, tokenizer
        )
        assert after == ""
        assert CODE.startswith(before)


def test_without_a_hole_the_document_is_plain_text(tokenizer: tokenizers.Tokenizer) -> None:
    fim = FimIds.from_tokenizer(tokenizer)
    ids = transformed(CODE, tokenizer, FimOptions(rate=0), random.Random(0))
    assert ids == [*encode(tokenizer, CODE), fim.end]


def test_the_share_of_holes_is_the_rate(tokenizer: tokenizers.Tokenizer) -> None:
    fim, rng = FimIds.from_tokenizer(tokenizer), random.Random(0)
    encoded = [transformed("a = 1\n", tokenizer, FimOptions(), rng) for _ in range(2000)]
    assert sum(ids[0] == fim.prefix for ids in encoded) / len(encoded) == pytest.approx(
        0.5, abs=0.04
    )


def test_a_rest_of_line_ends_where_the_line_ends() -> None:
    for seed in range(100):
        start, end = rest_of_line(CODE, random.Random(seed))
        assert CODE[end] == "\n"
        assert "\n" not in CODE[start:end]


def test_whole_lines_start_and_end_at_line_ends() -> None:
    for seed in range(100):
        start, end = whole_lines(CODE, random.Random(seed))
        assert CODE[end] == "\n"
        assert CODE[:start].rstrip(" ").endswith("\n") or start == 0


def test_a_block_has_the_lines_that_are_indented_below_its_opener() -> None:
    for seed in range(50):
        start, end = indented_block(CODE, random.Random(seed))
        opener = CODE[:start].rstrip().rsplit("\n", 1)[-1]
        depth = len(opener) - len(opener.lstrip())
        lines = [line for line in CODE[start:end].split("\n")[1:] if line.strip()]
        assert all(len(line) - len(line.lstrip()) > depth for line in lines)


def test_text_without_a_block_gets_whole_lines() -> None:
    assert indented_block("a\nb\n", random.Random(0))[1] > 0

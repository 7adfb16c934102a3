"""Prompts for Code Llama have the ids of transformers' CodeLlamaTokenizer."""

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.tokenizer import Tokenizer
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.prompt.window import BLOCK_LINES, fit
from fim.settings import FORMS, Form
from fim.snapshot import Cell, Snapshot
from tests.llama_checkpoint import Form as TokenizerForm
from tests.llama_checkpoint import reference_tokenizer, tokenizer_json

REFERENCE = reference_tokenizer()
TOKENIZERS: dict[TokenizerForm, Tokenizer] = {
    "legacy": Tokenizer.from_json(tokenizer_json("legacy")),
    "metaspace": Tokenizer.from_json(tokenizer_json("metaspace")),
}
LONG = "".join(f"    total_{number} += {number}\n" for number in range(3 * BLOCK_LINES))

pieces = st.lists(
    st.sampled_from(
        [
            *("return", " ", "    ", "\t", "\n", "x = 1", "🎉", "你好", "é", "def f(self):\n"),
            *("number in numbers", "\n\n", ")", '"', "_", "0"),
        ]
    ),
    max_size=20,
).map("".join)


def ours(prefix: str, suffix: str, form: Form, tokenizer: Tokenizer) -> tuple[int, ...]:
    snapshot = Snapshot("u", "python", prefix + suffix, len(prefix))
    family = detect(tokenizer)
    assert family.name == "Code Llama"
    return build(snapshot, family, tokenizer.encode, 100_000, form, tokenizer.encode_start)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(prefix=pieces, suffix=pieces)
@settings(deadline=None)
def test_a_prompt_has_the_ids_of_transformers(
    name: TokenizerForm, prefix: str, suffix: str
) -> None:
    prefix, suffix = prefix or "a", suffix or "\n"  # transformers needs both, see below
    for form, suffix_first in (("cursor", False), ("suffix-first", True)):
        ids = REFERENCE(f"{prefix}<FILL_ME>{suffix}", suffix_first=suffix_first).input_ids
        assert list(ours(prefix, suffix, form, TOKENIZERS[name])) == ids  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [
        (LONG, LONG),
        ("def f(x):\n\treturn ", "\n\nprint(f(1))\n"),
        (" indented", "suffix"),
        ("🎉 = '你好'\n", " # 🎉\n"),
    ],
)
def test_long_and_unusual_prompts_have_the_ids_of_transformers(
    name: TokenizerForm, prefix: str, suffix: str
) -> None:
    ids = REFERENCE(f"{prefix}<FILL_ME>{suffix}").input_ids
    assert list(ours(prefix, suffix, "cursor", TOKENIZERS[name])) == ids


def test_an_empty_prefix_has_no_dummy_space() -> None:
    """As in Meta's `infilling_prompt_tokens`; transformers writes a space there."""
    names = [
        TOKENIZERS["legacy"].decode((id_,), skip_special=False)
        for id_ in ours("", "x", "cursor", TOKENIZERS["legacy"])
    ]
    assert names == ["<s>", " <PRE>", " <SUF>", "x", " <MID>"]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(before=pieces, after=pieces, form=st.sampled_from(FORMS))
@settings(deadline=None)
def test_only_the_prefix_gets_a_space(
    name: TokenizerForm, before: str, after: str, form: Form
) -> None:
    tokenizer = TOKENIZERS[name]
    fim = detect(tokenizer).fim
    assert fim is not None
    assert fim.middle is not None
    ids = ours(before, after, form, tokenizer)
    suffix, middle = ids.index(fim.suffix), ids.index(fim.middle)
    parts = [ids[:suffix], ids[suffix:middle], ids[middle:]]
    first, second, third = map(tokenizer.decode, parts)
    assert second == after
    if form == "line":  # the dummy space is before the lines above, if there are any
        assert first.startswith(" ") == bool(first)
        assert first[1:] + third == before
    else:
        text = first if form == "cursor" else third
        assert text == (f" {before}" if before else "")


@pytest.mark.parametrize("room", range(1, 12))
def test_the_dummy_space_never_exceeds_the_room(room: int) -> None:
    tokenizer = TOKENIZERS["legacy"]
    text = "\n(x"  # here the dummy space is a token of its own
    prefix, _ = fit(text, "", room, tokenizer.encode, tokenizer.encode_start)
    assert len(prefix) <= room
    has_room = room >= len(tokenizer.encode_start(text)) > len(tokenizer.encode(text))
    assert tokenizer.decode(prefix).startswith(" ") == has_room


@pytest.mark.parametrize("form", FORMS)
def test_codestral_gets_the_prompt_of_mistral_common(form: Form) -> None:
    """Its `encode_fim` puts a dummy space before the prefix, and none before the suffix."""
    inner = tokenizers.Tokenizer.from_str(tokenizer_json(infilling=False))
    inner.add_special_tokens(["[SUFFIX]", "[PREFIX]"])
    tokenizer = Tokenizer(inner, "test")
    snapshot = Snapshot("u", "python", "return x", 6)
    family = detect(tokenizer)
    assert family.name == "Codestral"
    ids = build(snapshot, family, tokenizer.encode, 90, form, tokenizer.encode_start)
    expected = "<s>[SUFFIX] x[PREFIX] return"
    assert tokenizer.decode(ids, skip_special=False) == expected
    assert ids[-1] == tokenizer.token_id("▁return")


def test_cells_before_the_prefix_take_the_dummy_spaces_place() -> None:
    tokenizer = TOKENIZERS["legacy"]
    snapshot = Snapshot("u", "python", "a = ", 4, cells=(Cell("code", "import os"),))
    family = detect(tokenizer)
    ids = build(snapshot, family, tokenizer.encode, 90, "cursor", tokenizer.encode_start)
    assert tokenizer.decode(ids) == "import os\n\na = "


@given(limit=st.integers(6, 400), form=st.sampled_from(FORMS))
@settings(deadline=None)
def test_a_window_of_a_long_document_does_not_exceed_its_limit(limit: int, form: Form) -> None:
    tokenizer = TOKENIZERS["legacy"]
    snapshot = Snapshot("u", "python", LONG * 2, len(LONG))
    ids = build(snapshot, detect(tokenizer), tokenizer.encode, limit, form, tokenizer.encode_start)
    assert len(ids) <= limit


def test_a_model_without_infilling_gets_the_ids_of_transformers_for_a_plain_text() -> None:
    tokenizer = Tokenizer.from_json(tokenizer_json(infilling=False))
    snapshot = Snapshot("u", "python", "x = 1\nafter", 5)
    ids = build(snapshot, detect(tokenizer), tokenizer.encode, 90, "line", tokenizer.encode_start)
    assert detect(tokenizer).fim is None
    assert ids[0] == tokenizer.token_id("<s>")
    assert tokenizer.decode(ids) == " x = 1"

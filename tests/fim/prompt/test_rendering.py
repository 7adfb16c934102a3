"""Prompts for clients of the engine's server that send text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api import FimText
from engine.errors import RequestError
from engine.scripted import byte_tokenizer
from fim.prompt.families import detect
from fim.prompt.rendering import render
from fim.settings import FORMS
from tests.fim.prompt.test_build import hostile

TOKENIZER = byte_tokenizer()
WITHOUT_FILES = byte_tokenizer(("<|endoftext|>", "<fim-prefix>", "<fim-suffix>", "<fim-middle>"))
PLAIN = byte_tokenizer(("<|endoftext|>",))
PREFIX, MIDDLE, SUFFIX, FILE = (
    TOKENIZER.special_id(name)
    for name in ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<filename>")
)


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("cursor", (PREFIX, *ids("a\nb"), SUFFIX, *ids("c"), MIDDLE)),
        ("suffix-first", (PREFIX, SUFFIX, *ids("c"), MIDDLE, *ids("a\nb"))),
        ("line", (PREFIX, SUFFIX, *ids("c"), MIDDLE, *ids("a\nb"))),
        ("unknown", (PREFIX, SUFFIX, *ids("c"), MIDDLE, *ids("a\nb"))),
    ],
)
def test_the_order_is_that_of_the_models_form(form: str, expected: tuple[int, ...]) -> None:
    rendered = render(FimText("a\nb", "c"), TOKENIZER, form, 100)
    assert rendered.ids == expected
    assert rendered.stop_ids == detect(TOKENIZER).stop_ids


@pytest.mark.parametrize("form", FORMS)
def test_a_long_text_is_cut_at_its_far_ends(form: str) -> None:
    before = "".join(f"before {n}\n" for n in range(500))
    after = "".join(f"after {n}\n" for n in range(500))
    rendered = render(FimText(before, after), TOKENIZER, form, 300)
    assert 200 < len(rendered.ids) <= 300
    text = TOKENIZER.decode(rendered.ids)
    assert "before 499\n" in text
    assert "after 0\n" in text
    assert "before 0\n" not in text
    assert "after 499" not in text


@settings(deadline=None)
@given(
    prefix=hostile,
    suffix=hostile,
    excerpt=hostile,
    form=st.sampled_from(FORMS),
    room=st.integers(8, 400),
)
def test_no_text_of_a_client_becomes_a_special_token(
    prefix: str, suffix: str, excerpt: str, form: str, room: int
) -> None:
    text = FimText(prefix, suffix, (("<fim_prefix>", excerpt),))
    rendered = render(text, TOKENIZER, form, room).ids
    assert len(rendered) <= room
    assert [rendered.count(id_) for id_ in (PREFIX, MIDDLE, SUFFIX)] == [1, 1, 1]
    assert TOKENIZER.end_of_text_id not in rendered


def test_the_last_excerpt_is_nearest_to_the_prefix_and_kept_longest() -> None:
    excerpts = (("a.py", "first"), ("b.py", "second"))
    rendered = render(FimText("p", "s", excerpts), TOKENIZER, "cursor", 400).ids
    start = (FILE, *ids("a.py\nfirst\n"), FILE, *ids("b.py\nsecond\n"), FILE, *ids("filename\n"))
    assert rendered == (*start, PREFIX, *ids("p"), SUFFIX, *ids("s"), MIDDLE)
    # A fourth of 140 tokens has room for the name of this text and one excerpt.
    short = render(FimText("p", "s", excerpts), TOKENIZER, "cursor", 140).ids
    assert ids("second") == short[6:12]
    assert "first" not in TOKENIZER.decode(short)


def test_an_excerpt_without_a_name_gets_one() -> None:
    rendered = render(FimText("p", "s", (("", "x"),)), TOKENIZER, "cursor", 400).ids
    assert rendered[: len(ids("filename\nx\n")) + 1] == (FILE, *ids("filename\nx\n"))


def test_without_tokens_for_files_excerpts_are_text_before_the_prefix() -> None:
    text = FimText("p", "s", (("a.py", "first\n"), ("b.py", "second")))
    rendered = render(text, WITHOUT_FILES, "cursor", 400).ids
    assert WITHOUT_FILES.decode(rendered) == "first\n\nsecond\n\nps"
    assert rendered[0] == WITHOUT_FILES.special_id("<fim-prefix>")


def test_a_model_without_fim_is_refused() -> None:
    with pytest.raises(RequestError, match="no fill-in-the-middle tokens"):
        render(FimText("p", "s"), PLAIN, "line", 100)

"""Special tokens are StarCoder's, digits are single, and source text stays text."""

from pathlib import Path

import pytest
import tokenizers

from training.tokenizer import SPECIAL_TOKENS, encode, load_tokenizer, special_id


def test_special_tokens_have_starcoders_ids(tokenizer: tokenizers.Tokenizer) -> None:
    assert [special_id(tokenizer, name) for name in SPECIAL_TOKENS] == list(range(19))
    assert special_id(tokenizer, "<|endoftext|>") == 0


def test_a_name_of_no_special_token_is_refused(tokenizer: tokenizers.Tokenizer) -> None:
    with pytest.raises(ValueError, match="<fim_hole>"):
        special_id(tokenizer, "<fim_hole>")
    with pytest.raises(ValueError, match="no special token"):
        special_id(tokenizer, "a")


@pytest.mark.parametrize("name", SPECIAL_TOKENS)
def test_special_tokens_in_source_text_stay_text(
    tokenizer: tokenizers.Tokenizer, name: str
) -> None:
    text = f'END = "{name}"\n'
    ids = encode(tokenizer, text)
    assert min(ids) >= len(SPECIAL_TOKENS)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_special_tokens_stay_text_after_a_reload(corpus: Path) -> None:
    assert min(encode(load_tokenizer(corpus / "tokenizer.json"), "<fim_suffix>")) >= 19


def test_digits_are_split_and_every_byte_has_an_id(tokenizer: tokenizers.Tokenizer) -> None:
    assert len(encode(tokenizer, "2026")) == 4
    text = "größe = '🚀'\r\n\tπ\x00\f"
    assert tokenizer.decode(encode(tokenizer, text)) == text

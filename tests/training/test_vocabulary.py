"""A smaller vocabulary consists of the first merges of a larger one."""

from pathlib import Path

from tests.training.conftest import CODE
from training.tokenizer import train_tokenizer
from training.vocabulary import characters_per_token, train_sample_tokenizers, truncate_vocabulary


def test_a_truncated_vocabulary_equals_one_trained_at_that_size() -> None:
    smaller = truncate_vocabulary(train_tokenizer([CODE], 340), 300)
    assert smaller.to_str() == train_tokenizer([CODE], 300).to_str()


def test_more_ids_give_more_characters_per_token(corpus: Path) -> None:
    trained = train_sample_tokenizers(corpus, [280, 320])
    means = {size: characters_per_token(corpus, each)["python"] for size, each in trained.items()}
    assert 1 < means[280] < means[320]

"""The output of a Code Llama checkpoint: that of transformers, and every space of it."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from benchmarks.stepped_scheduler import run_alone, text_of
from engine.api import FinishReason, GenerationRequest
from engine.loading.load import load
from engine.network.model import LoadedModel
from engine.settings import EngineSettings
from tests.llama_checkpoint import END, make_llama_checkpoint, reference_tokenizer

PROMPTS = [
    ("def mean(numbers):\n    return", "\n\nmean([1])\n"),
    ('# 表情 🎉\ndef greet(name):\n\tmessage = "你好 🎉 "', ' + "!"\n\treturn message\n'),
    ("class Stack:\n    def push(self", ":\n        pass\n"),
]
MAX_NEW_TOKENS = 30


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama_checkpoint(tmp_path_factory.mktemp("models") / "code-llama")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(EngineSettings(model=str(checkpoint), device="cpu"), lambda *_: None).model


def prompt_ids(prefix: str, suffix: str) -> list[int]:
    ids: list[int] = reference_tokenizer()(f"{prefix}<FILL_ME>{suffix}").input_ids
    return ids


@pytest.mark.parametrize(("prefix", "suffix"), PROMPTS)
def test_greedy_infilling_is_that_of_transformers(
    checkpoint: Path, model: LoadedModel, prefix: str, suffix: str
) -> None:
    ids = prompt_ids(prefix, suffix)
    end = model.tokenizer.special_tokens[END]
    module = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    expected = module.generate(
        torch.tensor([ids]),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=[end, 2],
        pad_token_id=0,
    )[0, len(ids) :].tolist()
    ends = [id_ for id_ in expected if id_ in (end, 2)]
    request = GenerationRequest(tuple(ids), MAX_NEW_TOKENS, frozenset({end}))
    chunks = run_alone(model, request)
    assert [id_ for chunk in chunks for id_ in chunk.ids] == expected[: len(expected) - len(ends)]
    # transformers strips the first space of a decoded text, so its text is decoded after an "x".
    reference = reference_tokenizer()
    after_x = reference.decode([*reference("x").input_ids, *expected], skip_special_tokens=True)
    assert text_of(chunks) == after_x.partition("x")[2]


def test_the_end_of_the_middle_ends_the_output(model: LoadedModel) -> None:
    ids = tuple(prompt_ids(*PROMPTS[0]))
    (first, *_) = run_alone(model, GenerationRequest(ids, 1))[0].ids
    (chunk,) = run_alone(model, GenerationRequest(ids, 5, frozenset({first})))
    assert (chunk.text, chunk.finish) == ("", FinishReason.STOP)


def test_a_line_feed_ends_a_single_line(model: LoadedModel) -> None:
    """The line feed is the token of a byte."""
    prompts = [tuple(prompt_ids(prefix, suffix)) for prefix, suffix in PROMPTS]
    texts = {ids: text_of(run_alone(model, GenerationRequest(ids, 60))) for ids in prompts}
    assert any("\n" in text for text in texts.values())
    for ids, text in texts.items():
        line = text_of(run_alone(model, GenerationRequest(ids, 60, single_line=True)))
        assert line == text.partition("\n")[0]


@given(
    prefix=st.lists(
        st.sampled_from(
            ["retu", " ", "\t", "\n", "🎉", "你", "好", "▁", "sel", "(", "<s>", "é", "0"]
        ),
        min_size=1,
        max_size=4,
    ).map("".join)
)
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_output_starts_with_the_forced_prefix(model: LoadedModel, prefix: str) -> None:
    request = GenerationRequest(tuple(prompt_ids(*PROMPTS[1])), 40, forced_prefix=prefix)
    assert text_of(run_alone(model, request)).startswith(prefix)


def test_a_half_typed_word_may_end_within_a_token(model: LoadedModel) -> None:
    """ "▁retur" is no token, so a prompt that ends in it has ids that the model rarely saw."""
    request = GenerationRequest(tuple(prompt_ids(*PROMPTS[0])), 8, forced_prefix=" retur")
    (first, *_) = run_alone(model, request)[0].ids
    assert model.tokenizer.whole_text(first) in (" return", " re")


def test_special_tokens_have_no_bytes(model: LoadedModel) -> None:
    """ "▁<PRE>" spells ` <PRE>`, but no text is this token."""
    request = GenerationRequest(tuple(prompt_ids(*PROMPTS[0])), 12, forced_prefix=" <PRE>")
    chunks = run_alone(model, request)
    assert text_of(chunks).startswith(" <PRE>")
    ids = {id_ for chunk in chunks for id_ in chunk.ids[:6]}
    assert model.tokenizer.special_tokens["▁<PRE>"] not in ids

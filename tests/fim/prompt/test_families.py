"""Each family has its tokens in its order, and a model without them completes left to right."""

import json

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from engine.tokenizer import Tokenizer
from fim.prompt.build import build
from fim.prompt.families import FimFamily, detect
from fim.settings import FORMS, Form
from fim.snapshot import Cell, Snapshot

STARCODER = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")
QWEN = ("<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
CODE_LLAMA = ("<s>", "</s>", "▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>")
SEED_CODER = ("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", "<[end▁of▁sentence]>")
DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")
MELLUM = (*STARCODER, "<filename>", "<reponame>", "<assistant>", "</assistant>")

FAMILIES = {
    "StarCoder": (*STARCODER, "<filename>", "<reponame>", "<gh_stars>"),
    "StarCoder2": (*STARCODER, "<file_sep>", "<repo_name>"),
    "SantaCoder": ("<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>"),
    "Mellum": MELLUM,
    "Qwen-Coder": (*QWEN, "<|im_end|>", "<|file_sep|>", "<|repo_name|>"),
    "CodeGemma": ("<bos>", "<eos>", *QWEN[1:], "<|file_separator|>"),
    "Granite 4": ("<|end_of_text|>", *QWEN[1:], "<|start_of_role|>", "<|end_of_role|>"),
    "Code Llama": CODE_LLAMA,
    "DeepSeek-Coder": DEEPSEEK,
    "Seed-Coder": SEED_CODER,
    "Codestral": ("<s>", "</s>", "[SUFFIX]", "[PREFIX]", "[MIDDLE]"),
}
"""The names of special tokens of one model of each family."""

ORDERS: dict[str, dict[Form, str]] = {
    "StarCoder": {
        "cursor": "<fim_prefix>a\nb<fim_suffix>c<fim_middle>",
        "line": "<fim_prefix><fim_suffix>c<fim_middle>a\nb",
        "suffix-first": "<fim_prefix><fim_suffix>c<fim_middle>a\nb",
    },
    "SantaCoder": {"suffix-first": "<fim-prefix><fim-suffix>c<fim-middle>a\nb"},
    "Mellum": {
        "cursor": "<fim_suffix>c<fim_prefix>a\nb<fim_middle>",
        "line": "<fim_suffix>c<fim_prefix><fim_middle>a\nb",
        "suffix-first": "<fim_suffix>c<fim_prefix><fim_middle>a\nb",
    },
    "Qwen-Coder": {
        "cursor": "<|fim_prefix|>a\nb<|fim_suffix|>c<|fim_middle|>",
        "suffix-first": "<|fim_prefix|><|fim_suffix|>c<|fim_middle|>a\nb",  # the form `line`
    },
    "CodeGemma": {"cursor": "<bos><|fim_prefix|>a\nb<|fim_suffix|>c<|fim_middle|>"},
    "Granite 4": {"cursor": "<|fim_prefix|>a\nb<|fim_suffix|>c<|fim_middle|>"},
    "Code Llama": {
        "cursor": "<s>▁<PRE>a\nb▁<SUF>c▁<MID>",
        "suffix-first": "<s>▁<PRE>▁<SUF>c▁<MID>a\nb",
    },
    "DeepSeek-Coder": {
        "cursor": "<｜begin▁of▁sentence｜><｜fim▁begin｜>a\nb<｜fim▁hole｜>c<｜fim▁end｜>"
    },
    "Seed-Coder": {
        "cursor": "<[fim-suffix]>c<[fim-prefix]>a\nb<[fim-middle]>",
        "line": "<[fim-suffix]>c<[fim-prefix]><[fim-middle]>a\nb",
    },
    "Codestral": dict.fromkeys(FORMS, "<s>[SUFFIX]c[PREFIX]a\nb"),
}


def tokenizer_of(*names: str, special: bool = True) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: token_id for token_id, token in enumerate([*names, *alphabet])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if special:
        inner.add_special_tokens(list(names))
    return Tokenizer(inner, json.dumps(names))


def prompt_text(tokenizer: Tokenizer, family: FimFamily, form: Form) -> str:
    ids = build(Snapshot("u", "c", "a\nbc", 3), family, tokenizer.encode, 90, form)
    return tokenizer.decode(ids, skip_special=False)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("special", [True, False])
def test_a_family_is_detected_by_its_tokens(name: str, special: bool) -> None:
    tokenizer = tokenizer_of(*FAMILIES[name], special=special)
    family = detect(tokenizer)
    assert family.name == name
    assert family.note == ""
    assert family.fim is not None
    assert set(family.fim.ids) <= family.stop_ids
    for end in ("<|endoftext|>", "▁<EOT>", "<[end▁of▁sentence]>", "<|end_of_text|>", "<eos>"):
        if end in FAMILIES[name]:
            assert tokenizer.token_id(end) in family.stop_ids  # also an id that is 0
    ids = build(Snapshot("u", "c", "ab", 1), family, tokenizer.encode, 50)
    assert [ids.count(token_id) for token_id in family.fim.ids] == [1] * len(family.fim.ids)
    assert ids[: len(family.start)] == family.start


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name, forms in ORDERS.items() for form in forms]
)
def test_the_parts_are_in_the_order_of_the_family(name: str, form: Form) -> None:
    tokenizer = tokenizer_of(*FAMILIES[name])
    assert prompt_text(tokenizer, detect(tokenizer), form) == ORDERS[name][form]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", FORMS)
def test_text_that_spells_a_special_token_stays_text(name: str, form: Form) -> None:
    tokenizer = tokenizer_of(*FAMILIES[name])
    family = detect(tokenizer)
    assert family.fim is not None
    names = "".join(FAMILIES[name])
    snapshot = Snapshot("u", "c", names + "\n" + names, len(names))
    ids = build(snapshot, family, tokenizer.encode, 2000, form)
    ours = [*family.start, *family.fim.ids]
    special = set(tokenizer.special_tokens.values())
    assert sorted(id_ for id_ in ids if id_ in special) == sorted(ours)
    assert tokenizer.decode(ids).count(names) == 2


@pytest.mark.parametrize("limit", range(1, 30))
@pytest.mark.parametrize("name", FAMILIES)
def test_no_family_exceeds_the_limit(name: str, limit: int) -> None:
    tokenizer = tokenizer_of(*FAMILIES[name])
    family = detect(tokenizer)
    assert family.fim is not None
    fixed = len(family.start) + len(family.fim.ids)
    for form in FORMS:
        snapshot = Snapshot("u", "c", "a = 1\n" * 20, 60)
        ids = build(snapshot, family, tokenizer.encode, limit, form)
        assert len(ids) <= max(limit, fixed)


def test_a_prompt_starts_as_the_tokenizer_starts_a_text() -> None:
    """Seed-Coder's file, for example, may put a token at the start of a text."""
    content = json.loads(tokenizer_of("<bos>", *SEED_CODER).to_json())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<bos>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [0], "tokens": ["<bos>"]}},
    }
    tokenizer = Tokenizer.from_json(json.dumps(content))
    assert tokenizer.start_ids == (0,)
    expected = "<bos><[fim-suffix]>c<[fim-prefix]>a\nb<[fim-middle]>"
    assert prompt_text(tokenizer, detect(tokenizer), "cursor") == expected


def test_the_path_of_a_file_comes_before_the_suffix_of_mellum() -> None:
    tokenizer = tokenizer_of(*MELLUM)
    snapshot = Snapshot("u", "python", "ab", 1, path="b.py", project="p")
    ids = build(snapshot, detect(tokenizer), tokenizer.encode, 90, "cursor")
    expected = "<reponame>p<filename>b.py\n<fim_suffix>b<fim_prefix>a<fim_middle>"
    assert tokenizer.decode(ids, skip_special=False) == expected


LEFT_TO_RIGHT = {
    "CodeGen": ("<|endoftext|>",),
    "SmolLM2": ("<|endoftext|>", "<file_sep>", "<repo_name>"),
    "Code Llama 34B and Python": ("<s>", "</s>"),
    "a chat model": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "incomplete": ("<fim_prefix>", "<fim_suffix>"),
}


@pytest.mark.parametrize("names", LEFT_TO_RIGHT.values(), ids=LEFT_TO_RIGHT)
@pytest.mark.parametrize("form", FORMS)
def test_without_fim_tokens_the_prompt_is_the_text_before_the_cursor(
    names: tuple[str, ...], form: Form
) -> None:
    tokenizer = tokenizer_of(*names)
    family = detect(tokenizer)
    assert family.fim is None
    assert "left to right" in family.note
    assert prompt_text(tokenizer, family, form) == "a\nb"
    ends = {"<|endoftext|>", "</s>", "<|im_end|>"} & set(names)
    assert {tokenizer.special_tokens[end] for end in ends} <= family.stop_ids


def test_a_prompt_is_never_empty() -> None:
    tokenizer = tokenizer_of("<|endoftext|>")
    ids = build(Snapshot("u", "c", "after", 0), detect(tokenizer), tokenizer.encode, 90)
    assert tokenizer.decode(ids) == "\n"


def test_a_left_to_right_prompt_keeps_the_text_next_to_the_cursor() -> None:
    tokenizer = tokenizer_of("<|endoftext|>")
    text = "".join(f"value_{number} = {number}\n" for number in range(500))
    snapshot = Snapshot("u", "c", text + text, len(text))
    prompt = build(snapshot, detect(tokenizer), tokenizer.encode, 700)
    assert len(prompt) <= 700
    assert text.endswith(tokenizer.decode(prompt))
    # The text after the cursor takes no room.
    alone = Snapshot("u", "c", text, len(text))
    assert prompt == build(alone, detect(tokenizer), tokenizer.encode, 700)


def test_cells_come_before_a_left_to_right_prompt() -> None:
    tokenizer = tokenizer_of("<|endoftext|>")
    snapshot = Snapshot("u", "python", "a = ", 4, cells=(Cell("code", "import os"),))
    ids = build(snapshot, detect(tokenizer), tokenizer.encode, 90)
    assert tokenizer.decode(ids) == "import os\n\na = "


@pytest.mark.parametrize(
    "names", [("<file_sep>", "<repo_name>"), ("<|file_sep|>", "<|repo_name|>"), ("<file_sep>",)]
)
def test_a_model_without_them_may_have_tokens_for_files(names: tuple[str, ...]) -> None:
    tokenizer = tokenizer_of("<|endoftext|>", *names)
    files = detect(tokenizer).files
    assert files is not None
    assert files.file == tokenizer.token_id(names[0])
    assert files.repository == (tokenizer.token_id(names[1]) if len(names) > 1 else None)


def test_a_token_for_repositories_alone_is_none_for_files() -> None:
    assert detect(tokenizer_of("<|endoftext|>", "<repo_name>")).files is None

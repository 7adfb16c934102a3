"""Makes small checkpoints in the layout of Code Llama, with a SentencePiece tokenizer.

The layout is that of codellama/CodeLlama-7b-hf: LlamaForCausalLM, and a tokenizer.json with `▁` for
spaces, one token per byte, and the four tokens for infilling. Without these tokens it is that of
Code Llama 34B or Python. The tokenizer is in one of two forms: `legacy`, in which a normalizer adds
the dummy space, as in the published files, or `metaspace`, in which a pre-tokenizer does.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CodeLlamaTokenizer, LlamaConfig, LlamaForCausalLM

from tests.checkpoint_maker import SAMPLE, edit_json

Form = Literal["legacy", "metaspace"]

PREFIX, SUFFIX, MIDDLE, END = INFILLING = ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")
_NAMES = ("<unk>", "<s>", "</s>")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


@cache
def bpe(infilling: bool = True) -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """Return the ids of all tokens by name, and the merges."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    # Like SentencePiece: a word with the space before it, and indentation.
    words = tokenizers.Regex(r"▁+(?=▁)|▁?[^▁]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(words, "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*_NAMES, *_BYTES], show_progress=False
    )
    tokenizer.train_from_iterator([*SAMPLE.splitlines() * 3, "你好 = 世界"], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    for name in INFILLING if infilling else ():
        vocab[name] = len(vocab)
    return vocab, tuple((first, second) for first, second in model["merges"])


def tokenizer_json(form: Form = "legacy", *, infilling: bool = True) -> str:
    """Return the text of the tokenizer.json."""
    vocab, merges = bpe(infilling)
    inner = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocab, merges=list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    if form == "legacy":
        inner.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])]
    )
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    inner.add_special_tokens([*_NAMES, *(INFILLING if infilling else ())])
    return str(inner.to_str())


def reference_tokenizer() -> CodeLlamaTokenizer:
    """Return transformers' tokenizer with the same tokens.

    With its default `add_prefix_space=True`, transformers 5 puts a dummy space before the suffix
    too, unlike transformers 4, the paper and Meta's own `infilling_prompt_tokens`. In an infilling
    prompt, False changes only that.
    """
    vocab, merges = bpe()
    return CodeLlamaTokenizer(vocab=vocab, merges=list(merges), add_prefix_space=False)


def make_llama_checkpoint(
    folder: Path,
    *,
    form: Form = "legacy",
    infilling: bool = True,
    seed: int = 7,
    **config: Any,
) -> Path:
    """Write a checkpoint with random weights to `folder` and return it.

    `config` adds keys to config.json.
    """
    torch.manual_seed(seed)
    module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(bpe(infilling)[0]),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=512,
            rope_theta=1e6,
            bos_token_id=1,
            eos_token_id=2,
            tie_word_embeddings=False,
            # More than the usual 0.02, so that logits differ clearly and greedy decoding has no
            # ties.
            initializer_range=0.3,
        )
    )
    # Otherwise most of the output would be bytes that are not UTF-8.
    with torch.no_grad():
        for name, id_ in bpe(infilling)[0].items():
            if name in (*_NAMES, *INFILLING[:-1], *_BYTES) and name not in ("<0x0A>", "<0x09>"):
                module.lm_head.weight[id_] = 0
    module.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(
        tokenizer_json(form, infilling=infilling), encoding="utf-8"
    )
    edit_json(folder / "config.json", **config)
    return folder

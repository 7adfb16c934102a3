"""Measure a model: loss on text, exact match of single lines, greedy decoding."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Sequence
from typing import Literal, get_args

import tokenizers
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from training.collect import CorpusDocument
from training.fim import FimIds
from training.holes import LineHole, baseline_match_rate, match_rate
from training.packing import cut_pieces
from training.tokenizer import encode

_PREFIX_CHARACTERS = 1800
_SUFFIX_CHARACTERS = 700
"""Characters of context: about 700 ids with the prefix, as long as the pieces in training."""

MAX_NEW_TOKENS = 48
"""Maximum tokens of the completion of a line."""

FimForm = Literal["line", "cursor", "suffix-first"]
"""Form of a fill-in-the-middle prompt, with the names of `fim.prompt.build`."""
FIM_FORMS: tuple[FimForm, ...] = get_args(FimForm)

_BATCH, _CUDA_BATCH = 16, 256
"""Prompts in a decoding batch, on a CPU and on a GPU."""


def measure_exact_match(
    model: PreTrainedModel | PeftModel,
    tokenizer: tokenizers.Tokenizer,
    holes: Sequence[LineHole],
    form: FimForm = "line",
) -> dict[str, float]:
    """Return the shares of holes that greedy decoding and the baseline complete exactly."""
    return match_statistics(holes, complete_holes(model, tokenizer, holes, form))


def match_statistics(holes: Sequence[LineHole], completions: Sequence[str]) -> dict[str, float]:
    """Return the numbers of `measure_exact_match` for completions that are already generated."""
    rate = match_rate(holes, completions)
    return {
        "count": len(holes),
        "exact_match": round(rate, 4),
        "standard_error": round(math.sqrt(rate * (1 - rate) / len(holes)), 4),
        "baseline_exact_match": round(baseline_match_rate(holes), 4),
    }


def prompt_ids(
    tokenizer: tokenizers.Tokenizer, ids: FimIds, hole: LineHole, form: FimForm = "line"
) -> list[int]:
    """Return the prompt for a hole; its context starts and ends with a whole line."""
    prefix = hole.prefix[-_PREFIX_CHARACTERS:]
    if len(hole.prefix) > _PREFIX_CHARACTERS:
        prefix = prefix[prefix.find("\n") + 1 :]
    suffix = hole.suffix[:_SUFFIX_CHARACTERS]
    if len(hole.suffix) > _SUFFIX_CHARACTERS:
        suffix = suffix[: suffix.rfind("\n") + 1]
    after = encode(tokenizer, suffix)
    if form == "suffix-first":
        return [ids.prefix, ids.suffix, *after, ids.middle, *encode(tokenizer, prefix)]
    line_start = prefix.rfind("\n") + 1 if form == "line" else len(prefix)
    before, typed = encode(tokenizer, prefix[:line_start]), encode(tokenizer, prefix[line_start:])
    return [ids.prefix, *before, ids.suffix, *after, ids.middle, *typed]


def complete_holes(
    model: PreTrainedModel | PeftModel,
    tokenizer: tokenizers.Tokenizer,
    holes: Sequence[LineHole],
    form: FimForm = "line",
) -> list[str]:
    """Return the greedy completion of each hole, up to `<|endoftext|>` or a line end."""
    ids = FimIds.from_tokenizer(tokenizer)
    max_prompt_tokens = int(model.config.n_positions) - MAX_NEW_TOKENS
    # Rare characters can make a prompt longer than the window; its end matters most.
    prompts = [prompt_ids(tokenizer, ids, hole, form)[-max_prompt_tokens:] for hole in holes]
    return complete_prompts(model, tokenizer.decode, prompts, (ids.end,))


def complete_prompts(
    model: PreTrainedModel | PeftModel,
    decode: Callable[[list[int]], str],
    prompts: Sequence[Sequence[int]],
    end_ids: Collection[int],
) -> list[str]:
    """Return the greedy completion of each prompt, up to one of `end_ids` or a line end."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    completions = [""] * len(prompts)
    size = decoding_batch(model)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        texts = decode_greedily(model, decode, [prompts[i] for i in batch], end_ids)
        for i, text in zip(batch, texts, strict=True):
            completions[i] = text
    return completions


def decoding_batch(model: PreTrainedModel | PeftModel) -> int:
    """Return the number of prompts in a decoding batch on the model's device."""
    return _CUDA_BATCH if next(model.parameters()).is_cuda else _BATCH


@torch.inference_mode()
def decode_greedily(
    model: PreTrainedModel | PeftModel,
    decode: Callable[[list[int]], str],
    prompts: Sequence[Sequence[int]],
    end_ids: Collection[int],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    single_line: bool = True,
) -> list[str]:
    """Return the greedy outputs of a batch of prompts, which are padded on the left.

    An output ends before one of `end_ids` or, with `single_line`, with its first line end.
    """
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    cache, outputs = None, [list[int]() for _ in prompts]
    running = set(range(len(prompts)))
    for _ in range(max_new_tokens):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        result = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, next_ids = result.past_key_values, result.logits[:, -1].argmax(-1)
        chosen = next_ids.tolist()
        for i in list(running):
            id_ = chosen[i]
            if id_ not in end_ids:
                outputs[i].append(id_)
            if id_ in end_ids or (single_line and "\n" in decode(outputs[i])):
                running.discard(i)
        if not running:
            break
        ids, mask = next_ids[:, None], functional.pad(mask, (0, 1), value=1)
    return [decode(output) for output in outputs]


@torch.inference_mode()
def measure_loss(
    model: PreTrainedModel | PeftModel,
    tokenizer: tokenizers.Tokenizer,
    documents: Sequence[CorpusDocument],
    count: int,
    rng: random.Random,
) -> dict[str, float]:
    """Return nats per token and bits per byte for `count` pieces of text without holes.

    Each piece follows `<|endoftext|>`, which is not counted. Pieces that are longer than the
    context window are skipped, as in training.
    """
    end = FimIds.from_tokenizer(tokenizer).end
    window = int(model.config.n_positions)
    total_nats, num_tokens, num_bytes = 0.0, 0, 0
    all_pieces = [
        piece
        for document in documents
        for piece in cut_pieces(document.text, int(window * 3.2), rng)
    ]
    rng.shuffle(all_pieces)
    device = next(model.parameters()).device
    for piece in all_pieces[:count]:
        ids = [end, *encode(tokenizer, piece)]
        if len(ids) <= window:
            total_nats += float(summed_nats(model, torch.tensor([ids], device=device)))
            num_tokens += len(ids) - 1
            num_bytes += len(piece.encode())
    return {
        "nats_per_token": round(total_nats / num_tokens, 4),
        "bits_per_byte": round(total_nats / math.log(2) / num_bytes, 4),
        "tokens": num_tokens,
    }


@torch.inference_mode()
def summed_nats(model: PreTrainedModel | PeftModel, ids: Tensor, start: int = 1) -> Tensor:
    """Return the summed cross-entropy, in nats, of the ids (1, n) from index `start` on."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits[0, start - 1 :].float(), ids[0, start:], reduction="sum")

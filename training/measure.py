"""Measure a model: loss on text, exact match of single lines, greedy answers."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Literal, get_args

import tokenizers
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.collect import Document
from training.fim import FimIds
from training.holes import LineHole, latest_line, match_rate
from training.packing import pieces
from training.tokenizer import encode

_PREFIX_CHARACTERS = 1800
_SUFFIX_CHARACTERS = 700
"""What of a file is shown: about 700 ids in all, as long as the pieces that were trained on."""

_NEW_TOKENS = 48

Form = Literal["line", "cursor", "suffix-first"]
FORMS: tuple[Form, ...] = get_args(Form)
"""How a model is asked, by the product's names (`fim.prompt.build`)."""

_BATCH = 16


def exact_match(
    model: nn.Module,
    tokenizer: tokenizers.Tokenizer,
    holes: Sequence[LineHole],
    form: Form = "line",
) -> dict[str, float]:
    """Return how often the greedy line is the true one, and how often the baseline's is."""
    return matched(holes, complete(model, tokenizer, holes, form))


def matched(holes: Sequence[LineHole], completions: Sequence[str]) -> dict[str, float]:
    """Return the numbers of `exact_match` for completions that are there already."""
    rate = match_rate(holes, completions)
    return {
        "count": len(holes),
        "exact_match": round(rate, 4),
        "standard_error": round(math.sqrt(rate * (1 - rate) / len(holes)), 4),
        "baseline_exact_match": round(match_rate(holes, [latest_line(h) for h in holes]), 4),
    }


def prompt_ids(
    tokenizer: tokenizers.Tokenizer, ids: FimIds, hole: LineHole, form: Form = "line"
) -> list[int]:
    """Return the prompt of a hole; its context begins and ends with a whole line."""
    prefix = hole.prefix[-_PREFIX_CHARACTERS:]
    if len(hole.prefix) > _PREFIX_CHARACTERS:
        prefix = prefix[prefix.find("\n") + 1 :]
    suffix = hole.suffix[:_SUFFIX_CHARACTERS]
    if len(hole.suffix) > _SUFFIX_CHARACTERS:
        suffix = suffix[: suffix.rfind("\n") + 1]
    after = encode(tokenizer, suffix)
    if form == "suffix-first":
        return [ids.prefix, ids.suffix, *after, ids.middle, *encode(tokenizer, prefix)]
    line = prefix.rfind("\n") + 1 if form == "line" else len(prefix)
    before, typed = encode(tokenizer, prefix[:line]), encode(tokenizer, prefix[line:])
    return [ids.prefix, *before, ids.suffix, *after, ids.middle, *typed]


def complete(
    model: nn.Module,
    tokenizer: tokenizers.Tokenizer,
    holes: Sequence[LineHole],
    form: Form = "line",
) -> list[str]:
    """Return the greedy completion of each hole, ended by `<|endoftext|>` or a line end."""
    ids = FimIds.of(tokenizer)
    room = int(model.config.n_positions) - _NEW_TOKENS  # type: ignore[union-attr, arg-type]
    # Text of rare characters can be longer in ids than the window; the end of it counts most.
    prompts = [prompt_ids(tokenizer, ids, hole, form)[-room:] for hole in holes]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts = [""] * len(prompts)
    for at in range(0, len(order), _BATCH):
        chosen = order[at : at + _BATCH]
        made = greedy(model, tokenizer, [prompts[i] for i in chosen], ids.end)
        for i, text in zip(chosen, made, strict=True):
            texts[i] = text
    return texts


@torch.inference_mode()
def greedy(
    model: nn.Module,
    tokenizer: tokenizers.Tokenizer,
    prompts: Sequence[Sequence[int]],
    end: int,
    *,
    most: int = _NEW_TOKENS,
    one_line: bool = True,
) -> list[str]:
    """Decode a batch of prompts, left-padded, until each has ended, or ended its line."""
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    cache, made = None, [list[int]() for _ in prompts]
    open_rows = set(range(len(prompts)))
    for _ in range(most):
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        cache, chosen = out.past_key_values, out.logits[:, -1].argmax(-1)
        for row in list(open_rows):
            id_ = int(chosen[row])
            if id_ != end:
                made[row].append(id_)
            if id_ == end or (one_line and "\n" in tokenizer.decode(made[row])):
                open_rows.discard(row)
        if not open_rows:
            break
        ids, mask = chosen[:, None], functional.pad(mask, (0, 1), value=1)
    return [tokenizer.decode(row) for row in made]


@torch.inference_mode()
def held_out_loss(
    model: nn.Module,
    tokenizer: tokenizers.Tokenizer,
    documents: Sequence[Document],
    count: int,
    rng: random.Random,
) -> dict[str, float]:
    """Return nats a token and bits a byte over `count` pieces of text without holes.

    Each piece follows `<|endoftext|>`, which is not counted; pieces longer than the window are
    passed over, as in training.
    """
    end = FimIds.of(tokenizer).end
    window = int(model.config.n_positions)  # type: ignore[union-attr, arg-type]
    total, tokens, size = 0.0, 0, 0
    cut = [(d, p) for d in documents for p in pieces(d.text, int(window * 3.2), rng)]
    rng.shuffle(cut)
    for _, piece in cut[:count]:
        ids = [end, *encode(tokenizer, piece)]
        if len(ids) <= window:
            total += float(nats(model, torch.tensor([ids], device=next(model.parameters()).device)))
            tokens += len(ids) - 1
            size += len(piece.encode())
    return {
        "nats_per_token": round(total / tokens, 4),
        "bits_per_byte": round(total / math.log(2) / size, 4),
        "tokens": tokens,
    }


@torch.inference_mode()
def nats(model: nn.Module, ids: Tensor, start: int = 1) -> Tensor:
    """Return the summed cross-entropy of ids (1, n) from place `start` on."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits[0, start - 1 :].float(), ids[0, start:], reduction="sum")

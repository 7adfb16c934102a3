"""The measurement of a model on held-out files, before and after training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from fim.training.examples import ExampleEncoder
from training.collect import CorpusDocument
from training.holes import LineHole, match_rate
from training.measure import MAX_NEW_TOKENS, complete_prompts, summed_nats
from training.packing import cut_pieces

MAX_PROMPT_TOKENS = 700
"""Maximum tokens of a measured prompt: as long as a typical piece in training."""

_MAX_PIECES = 200
"""Maximum pieces of held-out text that the loss is measured on, and at most one for each line."""
_CHARACTERS_PER_TOKEN = 3.2
"""Size of the largest piece, by the length of a training sequence."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Results of a model on the held-out files."""

    exact_match: float
    """Share of lines completed exactly, 0 to 1: greedy, from a random column."""
    nats_per_token: float
    """Cross-entropy of text without holes."""

    def __str__(self) -> str:
        return f"{self.exact_match:.1%} of lines, {self.nats_per_token:.3f} nats per token"

    def is_better_than(self, other: Measurement) -> bool:
        """Whether the loss is lower and exact match is not lower."""
        return self.nats_per_token < other.nats_per_token and self.exact_match >= other.exact_match


@dataclass(frozen=True, slots=True)
class HeldOutTest:
    """The measurement of a model on held-out files."""

    encoder: ExampleEncoder
    holes: Sequence[LineHole]
    documents: Sequence[CorpusDocument]
    positions: int
    """Number of positions of the model."""
    length: int
    """Tokens of a training sequence."""
    seed: int

    def measure(self, model: PreTrainedModel | PeftModel) -> Measurement:
        """Return exact match and loss of a model."""
        model.eval()
        rate = match_rate(self.holes, self.complete(model))
        return Measurement(round(rate, 4), round(self._nats_per_token(model), 4))

    def complete(self, model: PreTrainedModel | PeftModel) -> list[str]:
        """Return the greedy completion of each hole, up to its end or a line end.

        The prompts are those of completion without token healing.
        """
        max_tokens = min(MAX_PROMPT_TOKENS, self.positions - MAX_NEW_TOKENS)
        prompts = [self.encoder.prompt(hole, max_tokens) for hole in self.holes]
        return complete_prompts(model, self.encoder.tokenizer.decode, prompts, self.encoder.end_ids)

    def _nats_per_token(self, model: PreTrainedModel | PeftModel) -> float:
        """Return the mean loss of pieces of text. Pieces longer than a sequence are skipped."""
        rng = random.Random(self.seed)
        limit = int(self.length * _CHARACTERS_PER_TOKEN)
        pieces = [
            piece for document in self.documents for piece in cut_pieces(document.text, limit, rng)
        ]
        rng.shuffle(pieces)
        device = next(model.parameters()).device
        nats, num_tokens = 0.0, 0
        for piece in pieces[: min(_MAX_PIECES, len(self.holes))]:
            ids, start = self.encoder.measured_text(piece)
            if len(ids) <= self.length:
                nats += float(summed_nats(model, torch.tensor([ids], device=device), start))
                num_tokens += len(ids) - start
        if not num_tokens:
            raise ValueError("The held-out files contain no text that fits the context window.")
        return nats / num_tokens

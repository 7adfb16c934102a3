"""Fits the constants of `engine.decoding.mixture` on pairs of releases.

Run `python -m benchmarks.project_memory.fit FOLDER`, with pairs that no figure is reported on, such
as `PAIRS/fit`. The rest of each line is given to the model token by token, with the passages that
completion would send. The constants maximise the likelihood of the right tokens in the mixture.
Some packages are left out, to show the likelihood on code that was not used.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import track
from torch import Tensor

from benchmarks.common import load_ours
from benchmarks.project_memory.measuring import choose_holes, shares
from benchmarks.project_memory.releases import find_pairs
from benchmarks.stepped_scheduler import new_cache
from engine.api import Chunk, Engine, FinishReason, GenerationRequest
from engine.decoding.generation import DecodingContext
from engine.decoding.memory_text import MATCH_SIZES, Continuation, MemoryText
from engine.local import LocalEngine
from engine.network.batch import BatchEntry
from engine.settings import EngineSettings
from fim.context.provider import ContextProvider
from fim.evaluation.files import Sample
from fim.evaluation.holes import Hole
from fim.evaluation.older_trees import private_folder
from fim.evaluation.project_context import context_provider_for, hole_uri
from fim.postprocess.truncate import Extent, Scope, Truncator
from fim.request.model import FimModel, RequestOptions
from fim.settings import FimSettings
from fim.snapshot import Snapshot

_NUM_CLASSES = len(MATCH_SIZES)
_MAX_CONTINUATIONS = 24
_MAX_TOKENS = 48
_ITERATIONS = 300
_SMOOTHNESS = 1e-4
"""Penalty for differences between neighbouring size classes."""


class _RecordingEngine:
    """Records the requests that it gets, and generates nothing."""

    def __init__(self, engine: Engine) -> None:
        self.info, self.tokenizer = engine.info, engine.tokenizer
        self.health, self.aclose = engine.health, engine.aclose
        self.requests: list[GenerationRequest] = []

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        yield Chunk("", finish=FinishReason.STOP)


@dataclass(frozen=True, slots=True)
class _Step:
    """One token of the right text, given the text before it."""

    package: str
    sample: str
    hole: str
    continuations: list[Continuation]
    shares: list[float]
    """The model's probability of each continuation."""
    right: int
    """Index of the right continuation, -1 if it is none of them."""
    right_share: float
    """The model's probability of the right token."""
    best_share: float
    entropy: float
    is_best: bool
    """Whether the model alone chooses the right token."""


class _Collector:
    """Computes the steps of holes with the model."""

    def __init__(self, model_name: str) -> None:
        self.model = load_ours(model_name, "auto")
        self.context = DecodingContext.of(self.model)
        vocabulary = self.context.vocabulary
        self.line_ends = frozenset(vocabulary.line_end_ids)
        self._line_end_ids = torch.tensor(vocabulary.line_end_ids)
        self._engine = _RecordingEngine(LocalEngine(EngineSettings(model=model_name)))

    async def request(self, hole: Hole, add_context: ContextProvider) -> GenerationRequest:
        """Return the request that completion would make for a hole."""
        snapshot = Snapshot(
            hole_uri(hole.name), hole.language, hole.prefix + hole.suffix, len(hole.prefix)
        )
        snapshot = await add_context(snapshot, excerpts=False, passages=True)
        fim = FimModel(self._engine, FimSettings())
        truncator = Truncator(snapshot, Scope(Extent.LINE))
        await fim.generate(snapshot, truncator, RequestOptions(), lambda _: None)
        return self._engine.requests[-1]

    @torch.inference_mode()
    def steps(self, package: str, hole: Hole, request: GenerationRequest) -> Iterator[_Step]:
        """Yield the steps of the right text up to the end of its line."""
        prefix = request.forced_prefix
        ids = self.context.vocabulary.encode(prefix + hole.middle.rstrip("\n") + "\n")
        if request.memory is None or len(ids) > _MAX_TOKENS:
            return
        size = next(index for index, id_ in enumerate(ids, 1) if id_ in self.line_ends)
        text = MemoryText(request.memory, self.context.continuation_tokens, self.line_ends)
        cache = new_cache(self.model)
        entry = BatchEntry((*request.prompt, *ids[: size - 1]), cache, size)
        logits = self.model.forward([entry])[0].double()
        forced = prefix.encode()
        for id_, row in zip(ids[:size], logits, strict=True):
            if forced:
                allowed = self.context.vocabulary.tokens_compatible_with(forced)
                row = torch.full_like(row, -torch.inf).index_copy(
                    0, torch.tensor(allowed), row[allowed]
                )
            yield self._step(package, hole, row, id_, text.continuations((), forced))
            text.write(id_)
            forced = forced[len(self.context.vocabulary.bytes_of(id_)) :]

    def _step(
        self, package: str, hole: Hole, row: Tensor, id_: int, following: list[Continuation]
    ) -> _Step:
        shares = row.softmax(-1)
        likeliest_end = int(self._line_end_ids[shares[self._line_end_ids].argmax()])
        right = likeliest_end if id_ in self.line_ends else id_
        by_length = sorted(following, key=lambda each: -max(size for size, _ in each.counts))
        continuations = by_length[:_MAX_CONTINUATIONS]
        ids = [likeliest_end if each.id in self.line_ends else each.id for each in continuations]
        best = int(shares.argmax())
        return _Step(
            package,
            hole.sample,
            hole.name,
            continuations,
            [float(shares[each]) for each in ids],
            ids.index(right) if right in ids else -1,
            float(shares[right]),
            float(shares[best]),
            float(-(shares * shares.clamp(min=1e-30).log()).sum()),
            best == right,
        )


class _Mixture(torch.nn.Module):
    """The formula of `engine.decoding.mixture`, for many steps at a time."""

    def __init__(self, steps: Sequence[_Step]) -> None:
        super().__init__()
        self.place_weights = torch.nn.Parameter(torch.arange(_NUM_CLASSES) * 0.7)
        self.match_logits = torch.nn.Parameter(torch.zeros(_NUM_CLASSES))
        self.factors = torch.nn.Parameter(torch.zeros(3))
        self.counts = torch.zeros(len(steps), _MAX_CONTINUATIONS, _NUM_CLASSES)
        self.shares = torch.zeros(len(steps), _MAX_CONTINUATIONS)
        for index, step in enumerate(steps):
            for place, each in enumerate(step.continuations):
                self.shares[index, place] = step.shares[place]
                for size, count in each.counts:
                    self.counts[index, place, size] = count
        self.exists = self.counts.sum(-1) > 0
        self.has_any = self.exists.any(-1)
        sizes = torch.arange(1, _NUM_CLASSES + 1)
        self.longest = ((self.counts.sum(1) > 0) * sizes).amax(-1).clamp(min=1) - 1
        self.right = torch.tensor([step.right for step in steps])
        self.right_share = torch.tensor([step.right_share for step in steps])
        self.best_share = torch.tensor([step.best_share for step in steps])
        self.entropy = torch.tensor([step.entropy for step in steps])
        self.is_best = torch.tensor([step.is_best for step in steps])

    def forward(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory's distribution (n, continuations) and the weights (n,)."""
        counts = self.counts[chosen]
        scores = counts.log1p() @ self.place_weights.exp()
        memory = scores / scores.sum(-1, keepdim=True).clamp(min=1e-9)
        features = torch.stack(
            [memory.amax(-1), self.entropy[chosen], counts.sum((1, 2)).log1p()], -1
        )
        logit = self.match_logits[self.longest[chosen]] + features @ self.factors
        return memory, logit.sigmoid() * self.has_any[chosen]

    def loss(self, chosen: Tensor) -> Tensor:
        """Return the mean negative log-likelihood of the right tokens."""
        memory, weight = self(chosen)
        right = self.right[chosen]
        share = memory.gather(1, right.clamp(min=0)[:, None])[:, 0] * (right >= 0)
        mixed: Tensor = (1 - weight) * self.right_share[chosen] + weight * share
        return -mixed.clamp(min=1e-9).log().mean()

    def is_right(self, chosen: Tensor) -> Tensor:
        """Return whether the likeliest token of the mixture is the right one."""
        memory, weight = self(chosen)
        mixed = (1 - weight)[:, None] * self.shares[chosen] + weight[:, None] * memory
        best, index = mixed.masked_fill(~self.exists[chosen], -1.0).max(-1)
        of_model = (1 - weight) * self.best_share[chosen]
        return torch.where(best > of_model, index == self.right[chosen], self.is_best[chosen])

    def fit(self, chosen: Tensor) -> None:
        """Maximise the likelihood of the right tokens of some steps."""
        optimizer = torch.optim.Adam(self.parameters(), 0.05)
        for _ in range(_ITERATIONS):
            rough = sum(p.diff().square().sum() for p in (self.place_weights, self.match_logits))
            loss = self.loss(chosen) + _SMOOTHNESS * rough
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with NAME/old and NAME/new.")],
    holes: Annotated[int, typer.Option(min=1, help="Holes of each kind of lines.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of holes.")] = 0,
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
    folds: Annotated[int, typer.Option(min=2, help="Parts of the packages to leave out.")] = 3,
) -> None:
    """Print the constants, and what they give on packages that are left out in turn."""
    steps = asyncio.run(_collect(folder, holes, seed, model))
    packages = sorted({step.package for step in steps})
    numbers = torch.tensor([packages.index(step.package) for step in steps])
    is_right = torch.zeros(len(steps), dtype=torch.bool)
    for fold in range(folds):
        is_out = numbers % folds == fold
        mixture = _Mixture(steps)
        before = float(-mixture.right_share[is_out].clamp(min=1e-9).log().mean())
        mixture.fit((~is_out).nonzero()[:, 0])
        with torch.no_grad():
            out = is_out.nonzero()[:, 0]
            is_right[out] = mixture.is_right(out)
            print(f"left out {fold}: {before:.3f} -> {float(mixture.loss(out)):.3f} nats per token")
    for sample in Sample:
        _print_exact(sample, steps, is_right.tolist())
    mixture = _Mixture(steps)
    mixture.fit(torch.arange(len(steps)))
    print("_PLACE_WEIGHTS =", _rounded(mixture.place_weights - mixture.place_weights.min()))
    print("_MATCH_LOGITS =", _rounded(mixture.match_logits))
    print("_AGREEMENT, _ENTROPY, _PLACES =", _rounded(mixture.factors))


async def _collect(folder: Path, count: int, seed: int, model: str) -> list[_Step]:
    collector, steps, pairs = _Collector(model), list[_Step](), find_pairs(folder)
    with private_folder() as scratch:
        for pair, number in zip(pairs, shares(count, len(pairs)), strict=True):
            chosen = choose_holes(pair, number, seed, scratch)
            add_context = context_provider_for(chosen.files)
            for hole in track(chosen.holes, pair.package):
                request = await collector.request(hole, add_context)
                steps += collector.steps(pair.package, hole, request)
    return steps


def _print_exact(sample: str, steps: Sequence[_Step], is_right: Sequence[bool]) -> None:
    alone: dict[str, bool] = {}
    mixed: dict[str, bool] = {}
    for step, right in zip(steps, is_right, strict=True):
        if step.sample == sample:
            alone[step.hole] = alone.get(step.hole, True) and step.is_best
            mixed[step.hole] = mixed.get(step.hole, True) and right
    if alone:
        shares_of = [sum(each.values()) / len(each) for each in (alone, mixed)]
        error = math.sqrt(shares_of[1] * (1 - shares_of[1]) / len(alone))
        print(
            f"{sample} lines, all tokens right: model {shares_of[0]:.1%}, mixture "
            f"{shares_of[1]:.1%} ± {error:.1%} of {len(alone)}"
        )


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 2) for value in values.tolist())


if __name__ == "__main__":
    typer.run(main)

"""A large and a small model with fixed step costs, for tests of draft models."""

from dataclasses import dataclass, replace
from typing import Any

from benchmarks.stepped_scheduler import SteppedScheduler, ids_of
from engine.api import GenerationRequest, Usage
from engine.decoding.draft_model import DraftModel
from engine.loading.load import load
from engine.network.model import LoadedModel
from engine.settings import EngineSettings
from tests.engine.costs import FixedCosts
from tests.engine.wrapped_forward import WrappedForward

CODE = "def read(path):\n    with open(path) as file:\n        return file.read()\n\n\ndef write("
LARGE_MS = {1: 10.0, 4: 10.5, 8: 11.0, 16: 12.0, 32: 14.0, 512: 100.0}
"""Step costs of a large model with which drafts pay off."""
SMALL_MS = {num_rows: milliseconds / 20 for num_rows, milliseconds in LARGE_MS.items()}


@dataclass(frozen=True)
class Pair:
    """A large and a small model with fixed step costs."""

    large: LoadedModel
    small: LoadedModel

    @property
    def counter(self) -> WrappedForward:
        assert isinstance(self.small.forward, WrappedForward)
        return self.small.forward

    def draft_model(self) -> DraftModel:
        return DraftModel(self.small)

    def with_small(self, **fields: Any) -> "Pair":
        return Pair(self.large, replace(self.small, **fields))


def load_pair(small: str) -> Pair:
    settings = EngineSettings(model="demo", device="cpu", draft_model=small)
    loaded = load(settings, lambda *_: None)
    assert loaded.draft_model is not None
    counter = WrappedForward(loaded.draft_model.forward)
    return Pair(
        replace(loaded.model, costs=FixedCosts(LARGE_MS)),
        replace(loaded.draft_model, forward=counter, costs=FixedCosts(SMALL_MS)),
    )


def run(pair: Pair, request: GenerationRequest, draft_model: DraftModel) -> tuple[list[int], Usage]:
    chunks = SteppedScheduler(pair.large, draft_model).run(request)
    usage = chunks[-1].usage
    assert usage is not None
    return ids_of(chunks), usage


def request_for(model: LoadedModel, text: str = CODE, **fields: Any) -> GenerationRequest:
    ids = tuple(model.tokenizer.encode(text))
    return GenerationRequest(ids, **{"max_new_tokens": 60, **fields})

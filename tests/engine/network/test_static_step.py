"""Static steps have the logits of the plain path, whatever a slot contained before.

On a CPU they run without recording, and on a CUDA device also as recorded graphs.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from benchmarks.stepped_scheduler import finish_preparing, new_cache
from engine.kv_cache.cache import KVCache
from engine.loading.load import load
from engine.loading.model_size import GPU_LIBRARIES, bytes_for_steps
from engine.model_config import require_architecture
from engine.network.batch import DECODE_ROWS, BatchEntry, Bucket
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel
from engine.network.static_step import StaticStep, all_buckets
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.network.static import SLOTS, WINDOW, StaticModel, with_static_steps
from tests.engine.scheduling.harness import ids

TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 0.25}
"""Absolute tolerance of logits, whose size is some tens. In 16 bits a sum depends on its order."""

KINDS = [
    ("cpu", "float32"),
    ("cpu", "bfloat16"),
    ("cpu", "int8"),
    ("cuda", "float32"),
    ("cuda", "bfloat16"),
    ("cuda", "int4"),
]


@dataclass
class Pair:
    """A model that computes with static steps, and the same weights on the plain path."""

    static: StaticModel
    plain: LeanForward
    tolerance: float

    @property
    def forward(self) -> LeanForward:
        assert isinstance(self.static.model.forward, LeanForward)
        return self.static.model.forward

    @property
    def step(self) -> StaticStep:
        return self.static.graphs.step


def plain_forward(model: LoadedModel) -> LeanForward:
    assert isinstance(model.forward, LeanForward)
    return LeanForward(model.forward.weights)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=WINDOW)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(kind))
def kind(request: pytest.FixtureRequest) -> tuple[str, Any]:
    if request.param[0] == "cuda" and not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    kind: tuple[str, Any] = request.param
    return kind


@pytest.fixture(scope="module")
def plain(kind: tuple[str, Any], path: Path) -> LoadedModel:
    device, dtype = kind
    model = load(EngineSettings(str(path), device=device, dtype=dtype), lambda *_: None).model
    finish_preparing(model.forward)  # before and after compiling, products are rounded differently
    return model


@pytest.fixture
def pair(plain: LoadedModel) -> Pair:
    tolerance = TOLERANCE[plain.cache_shape.dtype]
    return Pair(with_static_steps(plain), plain_forward(plain), tolerance)


class Twins:
    """One sequence, in a slot and in a cache of the plain path."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.slot = new_cache(pair.static.model)
        self.plain = KVCache(pair.static.model.cache_shape)

    def __len__(self) -> int:
        return len(self.slot.ids)

    def truncate(self, rows: int) -> None:
        self.slot.truncate(rows)
        self.plain.truncate(rows)

    def copy(self, other: "Twins", rows: int) -> None:
        self.slot.copy_prefix(other.slot, rows)
        self.plain.reserve(rows)
        self.plain.copy_prefix(other.plain, rows)

    def end(self) -> None:
        assert self.slot.slot is not None
        self._pair.static.arena.give_back(self.slot.slot)


@torch.inference_mode()
def step(
    pair: Pair, parts: list[tuple[Twins, tuple[int, ...]]], num_logits: int | None = None
) -> None:
    """Compute a step in both ways and compare the logits."""
    sizes = [len(new) if num_logits is None else min(num_logits, len(new)) for _, new in parts]
    entries = [
        BatchEntry(new, twins.slot, size) for (twins, new), size in zip(parts, sizes, strict=True)
    ]
    static_logits = pair.forward(entries)
    for logits, (twins, new), size in zip(static_logits, parts, sizes, strict=True):
        expected = pair.plain([BatchEntry(new, twins.plain, size)])[0]
        assert_close(logits, expected, pair.tolerance)
        twins.slot.commit(new)
        twins.plain.commit(new)


def assert_close(logits: Tensor, expected: Tensor, tolerance: float) -> None:
    assert logits.shape == expected.shape
    torch.testing.assert_close(logits, expected, atol=tolerance, rtol=0.0)
    best = expected.topk(2).values
    is_clear = best[:, 0] - best[:, 1] > 2 * tolerance
    assert torch.equal(logits.argmax(-1)[is_clear], expected.argmax(-1)[is_clear])


def test_there_are_few_buckets_and_every_step_has_one() -> None:
    assert len(all_buckets(8192)) == 66
    assert all_buckets(8192)[0] == Bucket(256, 1, 1)
    assert max(bucket.columns for bucket in all_buckets(8192)) == 8192
    assert {bucket.columns for bucket in all_buckets(WINDOW)} == {256, 512, WINDOW}
    assert {bucket.columns for bucket in all_buckets(100)} == {100}
    assert all(bucket.num_rows <= DECODE_ROWS for bucket in all_buckets(WINDOW))


class OperationLog(TorchDispatchMode):
    """Records each operation with the shapes of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, object]] = []
        self.devices: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        shapes = tree_map_only(Tensor, lambda x: (x.shape, x.stride(), x.dtype), args)
        self.operations.append((str(func), shapes))
        result = func(*args, **kwargs)
        self.devices |= {x.device.type for x in tree_leaves(result) if isinstance(x, Tensor)}
        return result


_SYNCHRONIZING = re.compile(
    "_local_scalar_dense|nonzero|masked_select|lift|unique|_to_copy.*device"
)


def test_a_step_has_the_same_operations_for_all_inputs(path: Path) -> None:
    """A recording needs this: no shape, address or number comes from the host or goes there."""
    settings = EngineSettings(str(path), device="cpu", dtype="bfloat16")
    static = with_static_steps(load(settings, lambda *_: None).model)
    first, other = new_cache(static.model), new_cache(static.model)
    first.commit(ids(1, 300))
    other.commit(ids(2, 5))
    inputs = [
        [BatchEntry((7,), first), BatchEntry((8,), other)],
        [BatchEntry((9, 10), other), BatchEntry((11,), first), BatchEntry((3,), first)],
    ]
    operations = []
    for entries in inputs:
        bucket = static.graphs.step.set_inputs(entries)
        # A tensor created without a device would lie on the host, and here on `meta`.
        with torch.no_grad(), torch.device("meta"), OperationLog() as log:
            static.graphs.step.compute(Bucket(512, 4, 1))
        operations.append(log.operations)
        assert bucket.columns == 512
        assert log.devices == {"cpu"}
        assert not [name for name, _ in log.operations if _SYNCHRONIZING.search(name)]
    assert operations[0] == operations[1]
    assert len(operations[0]) > 60


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 17, 32])
def test_rows_of_one_sequence(pair: Pair, count: int, is_recorded: bool) -> None:
    if is_recorded:
        pair.static.record_all()
    twins = Twins(pair)
    for seed, start in enumerate((0, 100, 255, 256 - count, 256, 500, WINDOW - count)):
        twins.truncate(0)
        if start:
            step(pair, [(twins, ids(seed, start))], num_logits=1)
        step(pair, [(twins, ids(9, count))])
    assert len(twins) == WINDOW


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 1, 1), (4, 1, 1), (1, 9, 2, 20), (1, 16, 16, 3, 7)])
def test_rows_of_several_sequences(pair: Pair, sizes: tuple[int, ...], is_recorded: bool) -> None:
    if is_recorded:
        pair.static.record_all()
    lengths = (7, 254, 300, 90, WINDOW - 50)
    sequences = [Twins(pair) for _ in sizes]
    for index, twins in enumerate(sequences):
        step(pair, [(twins, ids(index, lengths[index]))], num_logits=1)
    for seed in range(3):
        step(pair, [(twins, ids(seed, size)) for twins, size in zip(sequences, sizes, strict=True)])


@pytest.mark.parametrize("seed", range(4))
def test_a_sequence_never_sees_rows_of_another(pair: Pair, seed: int) -> None:
    """Sequences start, continue, are truncated, are copied, and end, in random order."""
    if seed % 2:
        pair.static.record_all()
    rng, alive = random.Random(seed), [Twins(pair)]
    for turn in range(60):
        match rng.choice(
            ("continue", "continue", "continue", "long", "new", "truncate", "copy", "end", "poison")
        ):
            case "continue":
                some = rng.sample(alive, rng.randint(1, len(alive)))
                parts = [
                    (twins, ids(turn, rng.choice((1, 1, 2, 5)))) for twins in some if len(twins)
                ]
                parts = [(twins, new) for twins, new in parts if len(twins) + len(new) <= WINDOW]
                if parts:
                    step(pair, parts)
            case "long":
                twins = rng.choice(alive)
                if num_free := WINDOW - len(twins):
                    new = ids(turn, rng.randint(1, min(num_free, 300)))
                    step(pair, [(twins, new)], num_logits=1)
            case "new" if len(alive) < SLOTS:
                alive.append(Twins(pair))
            case "truncate":
                twins = rng.choice(alive)
                twins.truncate(rng.randint(0, len(twins)))
            case "copy" if len(alive) < SLOTS:
                source = rng.choice(alive)
                alive.append(Twins(pair))
                alive[-1].copy(source, rng.randint(0, len(source)))
            case "end" if len(alive) > 1:
                alive.pop(rng.randrange(len(alive))).end()
            case "poison":
                for twins in alive:
                    for rows in (*twins.slot.keys, *twins.slot.values):
                        rows[:, len(twins) :] = torch.nan


def changed_rows(before: Tensor, after: Tensor) -> list[int]:
    """Rows of an arena whose bits differ, in any layer."""
    kind = torch.int32 if before.dtype.itemsize == 4 else torch.int16
    different = (before.view(kind) != after.view(kind)).any(-1).flatten(0, 2).any(0)
    rows: list[int] = different.nonzero().flatten().tolist()
    return rows


def test_a_step_writes_only_its_own_rows_and_recording_writes_none(pair: Pair) -> None:
    arena = pair.static.arena
    sequences = [Twins(pair) for _ in range(SLOTS)]
    bases = sorted(twins.slot.slot.base for twins in sequences if twins.slot.slot)
    assert bases == [WINDOW * slot for slot in range(SLOTS)]
    for index, twins in enumerate(sequences):
        step(pair, [(twins, ids(index, 40 + index))], num_logits=1)
    for batch in (sequences, sequences[:3], sequences[4:5]):
        before = arena.rows.clone()
        expected = {arena.scratch_row}
        for twins in batch:
            assert twins.slot.slot is not None
            first = twins.slot.slot.base + len(twins)
            expected |= set(range(first, first + 3))
        step(pair, [(twins, (5, 6, 7)) for twins in batch])
        assert set(changed_rows(before, arena.rows)) <= expected
    before = arena.rows.clone()
    pair.static.record_all()
    assert set(changed_rows(before, arena.rows)) <= {arena.scratch_row}


def test_a_step_beyond_the_context_window_is_refused(pair: Pair) -> None:
    twins = Twins(pair)
    step(pair, [(twins, ids(1, WINDOW - 1))], num_logits=1)
    with pytest.raises(ValueError, match=f"{WINDOW + 1} rows"):
        pair.forward([BatchEntry((5, 6), twins.slot)])


def test_an_entry_that_needs_no_logits_gets_none(pair: Pair) -> None:
    with torch.inference_mode():
        logits = pair.forward([BatchEntry((5, 6), Twins(pair).slot, 0)])[0]
    assert logits.shape[0] == 0


def test_logits_do_not_change_when_the_next_step_is_computed(pair: Pair) -> None:
    cache = Twins(pair).slot
    with torch.inference_mode():
        logits = pair.forward([BatchEntry((5, 6), cache, 2)])[0]
        before = logits.clone()
        pair.forward([BatchEntry((7, 8), cache, 2)])
        pair.static.record_all()
    assert torch.equal(logits, before)


def test_recorded_steps_are_replayed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Twins(pair), Twins(pair)
    step(pair, [(first, ids(1, 90))], num_logits=1)
    pair.static.record_all()
    replayed: list[Bucket] = []

    def logged(bucket: Bucket, replay: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            replayed.append(bucket)
            replay()

        return run

    recorded = pair.static.graphs.recorded
    for bucket, replay in list(recorded.items()):
        recorded[bucket] = logged(bucket, replay)
    monkeypatch.setattr(pair.step, "compute", None)
    step(pair, [(first, (5,))])
    step(pair, [(first, (5, 6, 7))])
    step(pair, [(second, (5,)), (first, (5, 6))])
    step(pair, [(first, ids(1, 30))], num_logits=3)
    assert replayed == [
        Bucket(256, 1, 1),
        Bucket(256, 1, 4),
        Bucket(256, 4, 1),
        Bucket(256, 1, 32),
    ]


class PeakMemory(TorchDispatchMode):
    """Measures the largest number of bytes that new tensors take at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._live: dict[Any, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = {x.untyped_storage()._cdata for x in tree_leaves(args) if torch.is_tensor(x)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in inputs:
                storage = x.untyped_storage()
                self._live[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        self._live = {ref: size for ref, size in self._live.items() if not ref.expired()}
        self.bytes = max(self.bytes, sum(self._live.values()))
        return result


def test_the_largest_step_takes_at_most_the_planned_memory(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, n_positions=4096, n_embd=512, n_head=8, n_layer=1)
    settings = EngineSettings(str(path), device="cpu", dtype="bfloat16")
    static = with_static_steps(load(settings, lambda *_: None).model, num_slots=1)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    planned = bytes_for_steps(require_architecture(config), "bfloat16", 4096) - GPU_LIBRARIES
    peaks = []
    for bucket in (Bucket(4096, DECODE_ROWS, 1), Bucket(4096, 1, DECODE_ROWS)):
        with torch.no_grad(), PeakMemory() as peak:
            static.graphs.step.compute(bucket)
        peaks.append(peak.bytes)
    assert 0.8 * planned < max(peaks) <= planned

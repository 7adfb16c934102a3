"""Steps in static shapes say what the plain path says, whatever the slots held before.

On a CPU they run as they are; where there is a CUDA device, as recorded graphs too.
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

from engine.decoding.sequence import Part
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import KVCache
from engine.loading.load import Loaded, load
from engine.loading.model_size import GPU_LIBRARIES, bytes_for_steps
from engine.network.cuda_graphs import RecordedSteps
from engine.network.lean_forward import LeanForward
from engine.network.static_step import MOST_ROWS, Bucket, buckets
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.network.static import SLOTS, WINDOW, steps_of, with_steps
from tests.engine.scheduling.test_scheduler import ids

CLOSE = {torch.float32: 2e-3, torch.bfloat16: 0.25}
"""Of logits that are some tens; in 16 bits the order of a sum is seen."""

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

    held: Loaded
    arena: Arena
    plain: LeanForward
    close: float

    @property
    def steps(self) -> RecordedSteps:
        return steps_of(self.held)


def plain_forward(held: Loaded) -> LeanForward:
    forward = held.decoder.forward
    assert isinstance(forward, LeanForward)
    made = LeanForward(forward.weights)
    made._may_fuse, made._threads = False, 0
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=WINDOW)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(kind))
def kind(request: pytest.FixtureRequest) -> tuple[str, Any]:
    if request.param[0] == "cuda" and not torch.cuda.is_available():
        pytest.skip("optional: needs a CUDA device")
    found: tuple[str, Any] = request.param
    return found


@pytest.fixture(scope="module")
def plain(kind: tuple[str, Any], path: Path) -> Loaded:
    device, dtype = kind
    return load(EngineSettings(str(path), device=device, dtype=dtype), lambda *_: None)


@pytest.fixture
def pair(plain: Loaded) -> Pair:
    held = with_steps(plain)
    assert held.arena is not None
    return Pair(held, held.arena, plain_forward(plain), CLOSE[plain.cache_shape.dtype])


class Twins:
    """One sequence, in a slot and in a cache of the plain path."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.slot = pair.held.new_cache()
        self.plain = KVCache(pair.held.cache_shape)

    def __len__(self) -> int:
        return len(self.slot.ids)

    def cut(self, rows: int) -> None:
        del self.slot.ids[rows:], self.plain.ids[rows:]

    def copy(self, other: "Twins", rows: int) -> None:
        self.slot.copy_prefix(other.slot, rows)
        self.plain.reserve(rows)
        self.plain.copy_prefix(other.plain, rows)

    def end(self) -> None:
        assert self.slot.slot is not None
        self._pair.arena.give_back(self.slot.slot)


@torch.inference_mode()
def step(pair: Pair, parts: list[tuple[Twins, tuple[int, ...]]], last: int | None = None) -> None:
    """Compute a step both ways, and compare."""
    sizes = [len(new) if last is None else min(last, len(new)) for _, new in parts]
    ours = [Part(new, one.slot, size) for (one, new), size in zip(parts, sizes, strict=True)]
    found = pair.held.decoder.forward.batch(ours)
    for logits, (one, new), size in zip(found, parts, sizes, strict=True):
        expected = pair.plain(torch.tensor(new), one.plain, last=size)
        agree(logits, expected, pair.close)
        one.slot.commit(new)
        one.plain.commit(new)


def agree(logits: Tensor, expected: Tensor, close: float) -> None:
    assert logits.shape == expected.shape
    torch.testing.assert_close(logits, expected, atol=close, rtol=0.0)
    best = expected.topk(2).values
    sure = best[:, 0] - best[:, 1] > 2 * close
    assert torch.equal(logits.argmax(-1)[sure], expected.argmax(-1)[sure])


def prepare(pair: Pair) -> None:
    with torch.inference_mode():
        while pair.held.decoder.forward.prepare():
            pass
    assert pair.steps.left == 0


def test_there_are_few_buckets_and_all_steps_have_one() -> None:
    assert len(buckets(8192)) == 66
    assert buckets(8192)[0] == Bucket(256, 1, 1)
    assert max(bucket.columns for bucket in buckets(8192)) == 8192
    assert {bucket.columns for bucket in buckets(WINDOW)} == {256, 512, WINDOW}
    assert {bucket.columns for bucket in buckets(100)} == {100}
    assert all(bucket.count <= MOST_ROWS for bucket in buckets(WINDOW))


class Noted(TorchDispatchMode):
    """Notes each operation with the tensors that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, object]] = []
        self.devices: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = tree_map_only(Tensor, lambda one: (one.shape, one.stride(), one.dtype), args)
        self.found.append((str(func), given))
        made = func(*args, **kwargs)
        self.devices |= {one.device.type for one in tree_leaves(made) if isinstance(one, Tensor)}
        return made


_WAITING = re.compile("_local_scalar_dense|nonzero|masked_select|lift|unique|_to_copy.*device")


def test_a_step_is_the_same_operations_whatever_it_is_told(path: Path) -> None:
    """What a recording needs: no shape, address or number comes from the host or goes there."""
    settings = EngineSettings(str(path), device="cpu", dtype="bfloat16")
    held = with_steps(load(settings, lambda *_: None))
    static = held.decoder.forward.steps._step  # type: ignore[attr-defined]
    first, other = held.new_cache(), held.new_cache()
    first.commit(ids(1, 300))
    other.commit(ids(2, 5))
    told = [
        [Part((7,), first, 1), Part((8,), other, 1)],
        [Part((9, 10), other, 1), Part((11,), first, 1), Part((3,), first, 1)],
    ]
    found = []
    for parts in told:
        bucket = static.put(parts)
        # What is made without saying where would be made on the host, and here on `meta`.
        with torch.no_grad(), torch.device("meta"), Noted() as noted:
            static.compute(Bucket(512, 4, 1))
        found.append(noted.found)
        assert bucket.columns == 512
        assert noted.devices == {"cpu"}
        assert not [name for name, _ in noted.found if _WAITING.search(name)]
    assert found[0] == found[1]
    assert len(found[0]) > 60


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 17, 32])
def test_rows_of_one_sequence(pair: Pair, count: int, recorded: bool) -> None:
    if recorded:
        prepare(pair)
    one = Twins(pair)
    for at, start in enumerate((0, 100, 255, 256 - count, 256, 500, WINDOW - count)):
        one.cut(0)
        if start:
            step(pair, [(one, ids(at, start))], last=1)
        step(pair, [(one, ids(9, count))])
    assert len(one) == WINDOW


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 1, 1), (4, 1, 1), (1, 9, 2, 20), (1, 16, 16, 3, 7)])
def test_rows_of_several(pair: Pair, sizes: tuple[int, ...], recorded: bool) -> None:
    if recorded:
        prepare(pair)
    lengths = (7, 254, 300, 90, WINDOW - 50)
    all_of_them = [Twins(pair) for _ in sizes]
    for at, one in enumerate(all_of_them):
        step(pair, [(one, ids(at, lengths[at]))], last=1)
    for again in range(3):
        step(pair, [(one, ids(again, size)) for one, size in zip(all_of_them, sizes, strict=True)])


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_whatever_a_slot_held(pair: Pair, seed: int) -> None:
    """Sequences come, go on, are cut, copied and end; nothing of another's rows is seen."""
    if seed % 2:
        prepare(pair)
    rng, alive = random.Random(seed), [Twins(pair)]
    for turn in range(60):
        match rng.choice(
            ("go on", "go on", "go on", "long", "new", "cut", "copy", "end", "poison")
        ):
            case "go on":
                chosen = [one for one in rng.sample(alive, rng.randint(1, len(alive))) if len(one)]
                parts = [(one, ids(turn, rng.choice((1, 1, 2, 5)))) for one in chosen]
                parts = [(one, new) for one, new in parts if len(one) + len(new) <= WINDOW]
                if parts:
                    step(pair, parts)
            case "long":
                one = rng.choice(alive)
                if room := WINDOW - len(one):
                    step(pair, [(one, ids(turn, rng.randint(1, min(room, 300))))], last=1)
            case "new" if len(alive) < SLOTS:
                alive.append(Twins(pair))
            case "cut":
                one = rng.choice(alive)
                one.cut(rng.randint(0, len(one)))
            case "copy" if len(alive) < SLOTS:
                source = rng.choice(alive)
                alive.append(Twins(pair))
                alive[-1].copy(source, rng.randint(0, len(source)))
            case "end" if len(alive) > 1:
                alive.pop(rng.randrange(len(alive))).end()
            case "poison":
                for one in alive:
                    for rows in (*one.slot.keys, *one.slot.values):
                        rows[:, len(one) :] = torch.nan


def changed_rows(before: Tensor, after: Tensor) -> list[int]:
    """Those of an arena that do not hold the same bits, in any layer."""
    kind = torch.int32 if before.dtype.itemsize == 4 else torch.int16
    different = (before.view(kind) != after.view(kind)).any(-1).flatten(0, 1).any(0)
    found: list[int] = different.nonzero().flatten().tolist()
    return found


def test_only_a_step_s_own_rows_are_written_and_none_while_recording(pair: Pair) -> None:
    arena = pair.arena
    all_of_them = [Twins(pair) for _ in range(SLOTS)]
    assert sorted(one.slot.slot.base for one in all_of_them if one.slot.slot) == [
        WINDOW * at for at in range(SLOTS)
    ]
    for at, one in enumerate(all_of_them):
        step(pair, [(one, ids(at, 40 + at))], last=1)
    for some in (all_of_them, all_of_them[:3], all_of_them[4:5]):
        before = arena.rows.clone()
        expected = {arena.scratch_row}
        for one in some:
            assert one.slot.slot is not None
            first = one.slot.slot.base + len(one)
            expected |= set(range(first, first + 3))
        step(pair, [(one, (5, 6, 7)) for one in some])
        assert set(changed_rows(before, arena.rows)) <= expected
    before = arena.rows.clone()
    prepare(pair)
    assert set(changed_rows(before, arena.rows)) <= {arena.scratch_row}


def test_a_step_beyond_the_window_is_refused(pair: Pair) -> None:
    one = Twins(pair)
    step(pair, [(one, ids(1, WINDOW - 1))], last=1)
    with pytest.raises(ValueError, match=f"{WINDOW + 1} rows"):
        pair.held.decoder.forward(torch.tensor((5, 6)), one.slot)


def test_a_part_without_wanted_logits_gets_none(pair: Pair) -> None:
    with torch.inference_mode():
        found = pair.held.decoder.forward(torch.tensor((5, 6)), Twins(pair).slot, last=0)
    assert found.shape[0] == 0


def test_logits_stay_what_they_were_when_the_next_step_is_computed(pair: Pair) -> None:
    cache = Twins(pair).slot
    with torch.inference_mode():
        found = pair.held.decoder.forward(torch.tensor((5, 6)), cache, last=2)
        before = found.clone()
        pair.held.decoder.forward(torch.tensor((7, 8)), cache, last=2)
        prepare(pair)
    assert torch.equal(found, before)


def test_what_is_recorded_is_replayed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Twins(pair), Twins(pair)
    step(pair, [(one, ids(1, 90))], last=1)
    prepare(pair)
    replayed: list[Bucket] = []

    def noted(bucket: Bucket, replay: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            replayed.append(bucket)
            replay()

        return run

    for bucket, replay in pair.steps._recorded.items():
        pair.steps._recorded[bucket] = noted(bucket, replay)
    monkeypatch.setattr(pair.steps._step, "compute", None)
    step(pair, [(one, (5,))])
    step(pair, [(one, (5, 6, 7))])
    step(pair, [(other, (5,)), (one, (5, 6))])
    step(pair, [(one, ids(1, 30))], last=3)
    assert replayed == [
        Bucket(256, 1, 1),
        Bucket(256, 1, 4),
        Bucket(256, 4, 1),
        Bucket(256, 1, 32),
    ]


class Peak(TorchDispatchMode):
    """Counts the bytes that operations hold at once, beside what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._live: dict[Any, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {one.untyped_storage()._cdata for one in tree_leaves(args) if torch.is_tensor(one)}
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor) and one.untyped_storage()._cdata not in given:
                held = one.untyped_storage()
                self._live[StorageWeakRef(held)] = held.nbytes()  # type: ignore[no-untyped-call]
        self._live = {ref: size for ref, size in self._live.items() if not ref.expired()}
        self.bytes = max(self.bytes, sum(self._live.values()))
        return made


def test_the_largest_step_takes_no_more_than_is_planned_for_it(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, n_positions=4096, n_embd=512, n_head=8, n_layer=1)
    held = with_steps(
        load(EngineSettings(str(path), device="cpu", dtype="bfloat16"), lambda *_: None), slots=1
    )
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    planned = bytes_for_steps(config, "bfloat16", 4096) - GPU_LIBRARIES
    static = held.decoder.forward.steps._step  # type: ignore[attr-defined]
    taken = []
    for bucket in (Bucket(4096, MOST_ROWS, 1), Bucket(4096, 1, MOST_ROWS)):
        with torch.no_grad(), Peak() as peak:
            static.compute(bucket)
        taken.append(peak.bytes)
    assert 0.8 * planned < max(taken) <= planned

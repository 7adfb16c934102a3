"""A program that compares Triton's kernels of a decoding step with plain arithmetic.

The kernels run on a GPU or, without one, in Triton's interpreter. For the interpreter,
TRITON_INTERPRET=1 must be set before Triton is imported. Prints the results as one JSON object.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.stepped_scheduler import new_cache
from engine.kernels import triton_step as triton_step
from engine.kv_cache.arena import Arena
from engine.loading.load import load
from engine.network import static_step
from engine.network.batch import DECODE_ROWS, BatchEntry
from engine.network.model import LoadedModel
from engine.network.step_operations import StepOperations, TorchOperations, TritonOperations
from engine.network.weights import Weights
from engine.settings import EngineSettings
from tests.architecture_checkpoints import make_architecture
from tests.checkpoint_maker import make_checkpoint
from tests.engine.kernels.triton_program import DEVICE, fix_the_interpreter, relative_error
from tests.engine.network.static import WINDOW, StaticModel, with_static_steps
from tests.engine.scheduling.harness import ids

DTYPES = ("float32", "bfloat16", "float16")
NORM_SHAPES = ((1, 64), (3, 96), (4, 1), (2, 1030))
"""Rows and widths, most of them no powers of two."""


@dataclass(frozen=True, slots=True)
class Case:
    """Shapes of a step's attention, and the first position of each of its sequences."""

    heads: int
    dim: int
    columns: int
    """Columns of the bucket."""
    starts: tuple[int, ...]
    rows: int = 1
    """Rows per sequence, without padding."""
    padding: int = 0
    """Rows of padding."""
    kv_heads: int = 1
    has_rotations: bool = False
    has_norms: bool = False
    visible: int | None = None
    """Number of positions that a query sees, None for all."""

    @property
    def cache_rows(self) -> int:
        """Number of cache rows of a sequence: more than the columns."""
        return self.columns + 40


CASES = {
    "a row in the first column": Case(4, 8, 256, (0,)),
    "a row in the last column": Case(4, 8, 256, (255,)),
    "the start of a prompt": Case(3, 64, 512, (0,), rows=5, padding=3),
    "rows across the end of a split": Case(3, 8, 1024, (60,), rows=7, padding=1),
    "rows in the last columns": Case(5, 16, 512, (508,), rows=4),
    "sequences of all lengths": Case(12, 64, 256, (255, 0, 37, 63, 64), padding=3),
    "several rows of several sequences": Case(2, 32, 1024, (500, 37), rows=3),
    "many heads": Case(48, 128, 256, (100, 255)),
    "a dim that is no power of two": Case(2, 24, 1024, (1023, 512, 1), padding=1),
    "a window that is no power of two": Case(3, 8, 700, (699, 640, 2), padding=1),
    "several blocks of columns in a split": Case(3, 8, 3000, (2999, 1500, 130), padding=1),
    "a long window": Case(2, 16, 8192, (8191, 4103)),
    "grouped heads": Case(6, 16, 256, (100, 255), padding=1, kv_heads=2),
    "a key for every head": Case(3, 24, 512, (500,), rows=3, padding=1, kv_heads=3),
    "rotary positions": Case(4, 16, 256, (200, 0), kv_heads=2, has_rotations=True),
    "norms of heads": Case(4, 24, 256, (7,), rows=2, kv_heads=2, has_norms=True),
    "all of Qwen3": Case(
        6, 32, 256, (130,), rows=4, kv_heads=2, has_rotations=True, has_norms=True
    ),
    "a sliding window": Case(4, 16, 1024, (1000, 63, 5), kv_heads=2, visible=64),
    "a window of one position": Case(2, 8, 256, (255, 64, 0), visible=1),
}


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE)


def norm_error(dtype: torch.dtype, *, has_addition: bool, is_rms: bool) -> dict[str, float]:
    """Return the error of sums and of norms."""
    worst = {"total": 0.0, "normed": 0.0}
    for rows, width in NORM_SHAPES:
        hidden, addition = random(rows, width) + 3, random(width, rows).T.contiguous()
        hidden[0] *= 1e-3  # epsilon matters
        hidden, addition = hidden.to(dtype), (addition * 1e-3).to(dtype)
        weight, bias = random(2, width).to(dtype).unbind()
        total, normed = triton_step.add_norm(
            hidden,
            addition if has_addition else None,
            weight,
            None if is_rms else bias,
            1e-5,
            0.5 if is_rms else 1.0,
        )
        assert total.dtype is normed.dtype is dtype
        scaled = addition.double() * (0.5 if is_rms else 1.0)
        sums = hidden.double() + (scaled if has_addition else 0.0)
        expected = (
            functional.rms_norm(total.double(), (width,), weight.double(), 1e-5)
            if is_rms
            else functional.layer_norm(
                total.double(), (width,), weight.double(), bias.double(), 1e-5
            )
        )
        worst["total"] = max(worst["total"], relative_error(total, sums))
        # Each row by itself: in the first one values are small.
        for actual, row in zip(normed, expected, strict=True):
            worst["normed"] = max(worst["normed"], relative_error(actual, row))
    return worst


def attention_results(case: Case, dtype: torch.dtype) -> dict[str, float]:
    """Return the error of the output, and the number of wrong cache rows.

    The cache contains NaN where the sequences have no rows yet.
    """
    num_sequences, kv_heads, dim = len(case.starts), case.kv_heads, case.dim
    scratch = num_sequences * case.cache_rows + 1
    cache = torch.full((2, kv_heads, scratch + 1, dim), torch.nan, dtype=dtype, device=DEVICE)
    bases, positions = list[int](), list[int]()
    for number, start in enumerate(case.starts):
        base = (num_sequences - 1 - number) * case.cache_rows
        cache[:, :, base : base + start] = random(2, kv_heads, start, dim).to(dtype)
        bases += [base] * case.rows
        positions += range(start, start + case.rows)
    places = [base + position for base, position in zip(bases, positions, strict=True)]
    count, num_rows = len(places), len(places) + case.padding
    inputs = torch.zeros(3, DECODE_ROWS, dtype=torch.int64)
    for values, row, padding in zip(
        inputs, (places, positions, bases), (scratch, 0, scratch), strict=True
    ):
        values[:] = torch.tensor(row + [padding] * (DECODE_ROWS - count))
    # Large scores: the largest one of a split is far from that of the next.
    mixed = (random(num_rows, (case.heads + 2 * kv_heads) * dim) * 2).to(dtype)
    heads = heads_of(case, dtype)
    queries, keys, values = expected_heads(mixed[:count], heads, positions, kv_heads)
    expected_cache = cache.clone()
    expected_cache[:, :, places] = torch.stack([keys, values]).transpose(1, 2).to(dtype)
    rows = num_rows if num_sequences == 1 else case.rows
    output = triton_step.attend(
        mixed, cache, inputs.to(DEVICE)[:, :num_rows], heads, case.columns, rows
    )
    assert output.dtype is dtype
    assert output.shape == (num_rows, case.heads * dim)
    expected = []
    for number, (base, position) in enumerate(zip(bases, positions, strict=True)):
        first = 0 if case.visible is None else max(0, position + 1 - case.visible)
        visible = expected_cache[:, :, base + first : base + position + 1].double()
        shared = visible.repeat_interleave(case.heads // kv_heads, 1)
        scores = (queries[number][:, None] @ shared[0].mT) * heads.scale
        expected.append((scores.softmax(-1) @ shared[1]).flatten())
    tolerance = 0.0 if not (case.has_norms or case.has_rotations) else STORED[dtype]
    is_close = torch.isclose(cache, expected_cache, rtol=tolerance, atol=tolerance, equal_nan=True)
    wrong = ~is_close.all(3).all(1).all(0)
    wrong[scratch] = False
    if case.padding and not case.has_rotations and not case.has_norms:
        # Any row of padding may be the last one that writes there.
        first_key = case.heads * dim
        padding_keys = mixed[count:, first_key : first_key + dim]
        assert (cache[0, 0, scratch] == padding_keys).all(1).any()
    return {
        "output": relative_error(output[:count], torch.stack(expected)),
        "wrong rows": int(wrong.sum()),
    }


STORED = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Largest error of a stored key that was normalized or rotated."""


def heads_of(case: Case, dtype: torch.dtype) -> triton_step.Heads:
    norms = random(2, case.dim).to(dtype) if case.has_norms else None
    angles = random(case.cache_rows, case.dim // 2) * 3
    table = torch.stack([angles.cos(), angles.sin()], -1).flatten(1)
    return triton_step.Heads(
        heads=case.heads,
        scale=case.dim**-0.5,
        rotations=table if case.has_rotations else None,
        query_norm=None if norms is None else norms[0],
        key_norm=None if norms is None else norms[1],
        epsilon=1e-5,
        window=case.visible,
    )


def expected_heads(
    mixed: Tensor, heads: triton_step.Heads, positions: list[int], kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (n, heads, dim), keys and values (n, kv_heads, dim) in float64."""
    num_heads = heads.heads + 2 * kv_heads
    by_head = mixed.double().view(len(mixed), num_heads, -1)
    queries, keys, values = by_head.split([heads.heads, kv_heads, kv_heads], 1)
    if heads.query_norm is not None and heads.key_norm is not None:
        shape = heads.query_norm.shape
        queries = functional.rms_norm(queries, shape, heads.query_norm.double(), heads.epsilon)
        keys = functional.rms_norm(keys, shape, heads.key_norm.double(), heads.epsilon)
    if heads.rotations is not None:
        cosine, sine = (
            heads.rotations[positions].double()[:, None].unflatten(-1, (-1, 2)).unbind(-1)
        )
        queries, keys = (
            torch.stack(
                [
                    x[..., ::2] * cosine - x[..., 1::2] * sine,
                    x[..., 1::2] * cosine + x[..., ::2] * sine,
                ],
                -1,
            ).flatten(-2)
            for x in (queries, keys)
        )
    return queries, keys, values


def triton_operations(weights: Weights, _: Arena) -> TritonOperations:
    operations = TritonOperations(weights, triton_step)
    operations.prepare()
    return operations


def static_model(
    model: LoadedModel, operations: Callable[[Weights, Arena], StepOperations]
) -> StaticModel:
    """Return the model with static steps of the given operations."""
    with patch.object(static_step, "step_operations", operations):
        return with_static_steps(model)


@torch.inference_mode()
def step_errors() -> dict[str, float]:
    """Return the largest differences of the logits of whole steps from those of torch."""
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = make_checkpoint(Path(folder), n_positions=WINDOW, n_embd=24, n_head=3)
        errors |= model_errors(path)
    for name in ("qwen3", "granite", "mistral", "starcoder2"):
        with tempfile.TemporaryDirectory() as folder:
            path = make_architecture(Path(folder), name, max_position_embeddings=WINDOW)
            errors[name] = max(model_errors(path).values())
    return errors


def model_errors(path: Path) -> dict[str, float]:
    """Return the largest difference of the logits for each of some steps."""
    settings = EngineSettings(str(path), device="auto", dtype="float32")
    model = load(settings, lambda *_: None).model
    models = [static_model(model, TorchOperations), static_model(model, triton_operations)]
    caches = [[new_cache(static.model) for _ in range(3)] for static in models]
    steps: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {
        "a prompt": ((0, ids(1, 11)),),
        "one row": ((0, ids(2, 1)),),
        "draft tokens": ((0, ids(3, 3)),),
        "a second prompt": ((1, ids(4, 30)),),
        "a third prompt": ((2, ids(5, 2)),),
        "three sequences": ((0, ids(6, 1)), (1, ids(7, 1)), (2, ids(8, 1))),
    }
    errors = {}
    for name, parts in steps.items():
        logits = []
        for static, sequences in zip(models, caches, strict=True):
            entries = [BatchEntry(new, sequences[index], len(new)) for index, new in parts]
            assert static.graphs.supports(entries)
            logits.append(torch.cat(static.model.forward(entries)))
            for index, new in parts:
                sequences[index].commit(new)
        errors[name] = relative_error(logits[1], logits[0].double())
    return errors


def main() -> None:
    if DEVICE == "cpu":
        fix_the_interpreter()
    results: dict[str, Any] = {"steps": step_errors()}
    for name in DTYPES:
        dtype = getattr(torch, name)
        for kind, is_rms in (("norm", False), ("RMS norm", True)):
            for title, has_addition in ((kind, False), (f"sum and {kind}", True)):
                results[f"{title} {name}"] = norm_error(
                    dtype, has_addition=has_addition, is_rms=is_rms
                )
        for title, case in CASES.items():
            results[f"{title} {name}"] = attention_results(case, dtype)
    print(json.dumps(results))


if __name__ == "__main__":
    main()

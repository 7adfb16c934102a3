"""Prefix reuse and concurrent users, through the real scheduler."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from benchmarks.concurrent_users import ConcurrentUsers
from benchmarks.gpu.results import record
from benchmarks.prefix_reuse import one_token_per_step
from benchmarks.stepped_scheduler import SteppedScheduler
from engine.api import GenerationRequest
from engine.network.model import LoadedModel
from fim.evaluation.files import source_files
from fim.evaluation.report import percentile

import torch  # isort: skip

_ROOT = Path(__file__).resolve().parents[2]
_NEW_TOKENS = 9
_MIN_TEXT = 700
_USERS_S = 13.0 if torch.cuda.is_available() else 6.0
"""Seconds of typing, by the simulated clock; those of the warm-up do not count."""


def _first_token_ms(scheduler: SteppedScheduler, prompt: tuple[int, ...]) -> tuple[float, float]:
    """Return the ms to the first token of a request, and the ms per later token.

    Tokens of random weights may have no text, and then no chunk arrives with the first token. So
    the engine's own decoding time is subtracted from the whole.
    """
    started = time.perf_counter()
    chunks = scheduler.run(GenerationRequest(prompt, _NEW_TOKENS, logprobs=0))
    total_ms = (time.perf_counter() - started) * 1000
    usage = next(chunk.usage for chunk in reversed(chunks) if chunk.usage is not None)
    return total_ms - usage.decode_ms, usage.decode_ms / max(1, usage.completion_tokens - 1)


def measure_reuse(name: str, model: LoadedModel) -> None:
    """Record the time to the first token with nothing cached, and with 10 or 300 new tokens."""
    scheduler = SteppedScheduler(model)
    length = min(1500, model.context_window - 2 * _NEW_TOKENS)
    generator = torch.Generator().manual_seed(1)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(30, model.vocab_size, (count,), generator=generator).tolist())

    times: dict[str, list[float]] = {"cold": [], "new_10": [], "new_300": [], "step": []}
    with one_token_per_step():
        for number in range(6):
            prompt = ids(length)
            cold, _ = _first_token_ms(scheduler, prompt)
            few, step = _first_token_ms(scheduler, (*prompt[:-10], *ids(10)))
            many, _ = _first_token_ms(scheduler, (*prompt[:-300], *ids(300)))
            if number:
                for key, value in zip(times, (cold, few, many, step), strict=True):
                    times[key].append(value)
    scheduler.clear()
    medians = {key: round(statistics.median(values), 3) for key, values in times.items()}
    record("reuse", dtype=name, tokens=length, **medians)


def measure_typists(name: str, model: LoadedModel) -> None:
    """Record the time to an answer with one user, with eight, and with eight and a chat."""
    files = source_files(_ROOT / "engine", _ROOT / "fim")
    texts = [ids for file in files if len(ids := model.tokenizer.encode(file.text)) > _MIN_TEXT]
    for num_users, chat in ((1, False), (8, False), (8, True)):
        users = ConcurrentUsers(model, texts, num_users, chat=chat, clock=time.perf_counter)
        users.run(_USERS_S * (1.5 if num_users == 1 else 1.0))
        milliseconds = sorted(users.milliseconds)
        record(
            "typists",
            dtype=name,
            users=num_users,
            chat=chat,
            answers=len(milliseconds),
            p50_ms=round(percentile(milliseconds, 0.5), 2),
            p95_ms=round(percentile(milliseconds, 0.95), 2),
        )

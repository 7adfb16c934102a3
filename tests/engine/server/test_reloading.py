"""The model of a running server is loaded again, and no request is mixed up or lost."""

import asyncio
import gc
import json
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import httpx2
import pytest
import torch

from engine.api import EngineState, GenerationRequest, Progress
from engine.client.http import HttpEngine
from engine.errors import EngineReplacedError, RequestError
from engine.server.operation.reloading import Reload, ReloadingEngine
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.server.serving import serving, until
from tests.serve_process import serve_process

BODY = {"prompt": "def mean", "max_tokens": 12, "temperature": 0}
LONG = {"prompt": "def", "max_tokens": 3000, "temperature": 0, "stream": True}
MODES: tuple[Reload, ...] = ("keep", "unload")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "model", n_positions=4096)


def replace_weights(folder: Path, n_positions: int = 512) -> None:
    """Put another model into the folder, as an administrator does: next to it, then renamed."""
    new = make_checkpoint(folder.with_name("new"), seed=7, n_positions=n_positions)
    folder.rename(folder.with_name("old"))
    new.rename(folder)


def damage(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def damage_weights(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.unlink()


def damage_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def num_engine_threads() -> int:
    """Number of models that are loaded or loading: each has a thread."""
    return sum(thread.name == "engine" for thread in threading.enumerate())


def engine_of(folder: Path, mode: Reload) -> ReloadingEngine:
    return ReloadingEngine(EngineSettings(model=str(folder), device="cpu"), mode)


async def complete(plain: httpx2.AsyncClient) -> str:
    answer = await plain.post("/v1/completions", json=BODY)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["text"])


@pytest.mark.parametrize("mode", MODES)
async def test_new_weights_answer_after_a_reload(folder: Path, mode: Reload) -> None:
    engine = engine_of(folder, mode)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        old = await complete(plain)
        replace_weights(folder, n_positions=4096)
        assert await engine.reload()
        new = await complete(plain)
        metrics = engine.metrics()
    await engine.aclose()
    fresh = engine_of(folder, mode)
    async with serving(fresh) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        assert new == await complete(plain) != old
        assert fresh.metrics().cache_bytes == metrics.cache_bytes > 0
    await fresh.aclose()
    assert metrics.requests == 2  # counters never fall
    assert (metrics.reloads, metrics.failed_reloads) == (1, 0)


@pytest.mark.parametrize("mode", MODES)
async def test_a_running_request_finishes_on_its_model(folder: Path, mode: Reload) -> None:
    engine = engine_of(folder, mode)

    async def text(stream: AsyncIterator[str]) -> str:
        lines = [line async for line in stream if line.startswith("data: {")]
        choices = [json.loads(line[6:])["choices"] for line in lines]
        return "".join(choice["text"] for (choice,) in choices)

    async with (
        serving(engine) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url, timeout=60) as plain,
    ):
        async with plain.stream("POST", "/v1/completions", json=LONG) as response:
            alone = await text(response.aiter_lines())
        async with plain.stream("POST", "/v1/completions", json=LONG) as response:
            lines = response.aiter_lines()
            first = await anext(lines)
            replace_weights(folder)
            reload = asyncio.create_task(engine.reload())
            if mode == "keep":  # the new one answers while the old one still works
                assert await reload
                assert engine.metrics().requests_running == 1
            else:
                await asyncio.sleep(0.1)
                assert (await plain.get("/health")).status_code == 200  # the old one still works
            short = asyncio.create_task(complete(plain))

            async def all_lines() -> AsyncIterator[str]:
                yield first
                async for line in lines:
                    yield line

            assert await text(all_lines()) == alone
        assert await reload
        assert await short
        await until(lambda: num_engine_threads() == 1)  # the old model is released
        assert engine.metrics().caches_in_use == 0
    await engine.aclose()


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("keep", damage),
        ("keep", damage_weights),
        ("unload", damage),
        ("unload", damage_tokenizer),
    ],
)
async def test_a_model_that_cannot_be_loaded_changes_nothing(
    folder: Path, mode: Reload, problem: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(folder, mode)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        old = await complete(plain)
        problem(folder)
        assert not await engine.reload()
        assert "The old one stays." in caplog.text
        assert await complete(plain) == old
        assert (await plain.get("/health")).status_code == 200
        assert engine.metrics().failed_reloads == 1
        shutil.rmtree(folder)
        make_checkpoint(folder, seed=7, n_positions=4096)
        assert await engine.reload()
        assert await complete(plain) != old
    await engine.aclose()


async def test_a_model_that_is_unloaded_first_and_not_loaded_is_reported(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(folder, "unload")
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        await complete(plain)
        for file in folder.glob("*.safetensors"):
            file.write_bytes(file.read_bytes()[:-200])
        assert not await engine.reload()
        assert "was not loaded again" in caplog.text
        assert "The old one stays." not in caplog.text
        health = await plain.get("/health")
        assert health.status_code == 503
        assert health.json()["state"] == "failed"
        assert (await plain.post("/v1/completions", json=BODY)).status_code >= 400
    await engine.aclose()


@pytest.mark.parametrize("mode", MODES)
async def test_reloads_that_are_asked_for_together_leave_one_model(
    folder: Path, mode: Reload
) -> None:
    engine = engine_of(folder, mode)
    await engine.info()
    assert await asyncio.gather(engine.reload(), engine.reload()) == [True, True]
    await until(lambda: num_engine_threads() == 1)
    assert engine.metrics().reloads == 2
    await engine.aclose()
    assert num_engine_threads() == 0


async def test_a_reload_that_is_cancelled_leaves_the_old_model(folder: Path) -> None:
    engine = engine_of(folder, "keep")
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        old = await complete(plain)
        replace_weights(folder)
        reload = asyncio.create_task(engine.reload())
        while num_engine_threads() < 2:  # noqa: ASYNC110 - the small model loads within 10 ms
            await asyncio.sleep(0)
        reload.cancel()
        await asyncio.gather(reload, return_exceptions=True)
        await until(lambda: num_engine_threads() == 1, 30)
        assert await complete(plain) == old
    await engine.aclose()


async def test_an_old_model_is_released_with_its_last_request_or_with_the_engine(
    folder: Path,
) -> None:
    engine = engine_of(folder, "keep")
    async with (
        serving(engine) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as plain,
        plain.stream("POST", "/v1/completions", json=LONG) as response,
    ):
        lines = response.aiter_lines()
        await anext(lines)
        async with plain.stream("POST", "/v1/completions", json=LONG) as other:
            await anext(other.aiter_lines())
            assert await engine.reload()
        await until(lambda: engine.metrics().requests_running == 1)
        await asyncio.sleep(0.1)
        for _ in range(10):
            assert "error" not in await anext(lines)
        assert num_engine_threads() == 2
        await engine.aclose()
        assert num_engine_threads() == 0


def num_numbers() -> int:
    """Size of all tensors that exist."""
    tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
    return sum(each.numel() for each in tensors)


async def test_a_model_that_is_unloaded_needs_no_memory(folder: Path) -> None:
    """The new model may need all of it."""
    gc.collect()
    without = num_numbers()
    engine = engine_of(folder, "unload")
    await engine.info()
    gc.disable()
    try:
        size = num_numbers() - without
        assert await engine.reload()
        assert num_numbers() - without < 1.5 * size
    finally:
        gc.enable()
    await engine.aclose()


async def test_a_question_reaches_the_model_as_it_was_asked(folder: Path) -> None:
    engine, progress = engine_of(folder, "keep"), Progress(3)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        first = await plain.get("/tokenizer.json")
        assert first.headers.get("x-starcoder-fingerprint") != ""
    await engine.score((7, 8, 9), 0, user="alice", progress=progress)
    assert progress.started is not None
    with pytest.raises(RequestError, match="poet"):
        await engine.tokenizer("poet")
    await engine.aclose()


async def test_auto_is_not_chosen_again_next_to_the_old_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = ReloadingEngine(EngineSettings(model="demo", device="cpu"))
    await engine.info()
    engine._settings = EngineSettings(model="auto", device="cpu")
    assert not await engine.reload()
    assert "--reload unload" in caplog.text
    await engine.aclose()


async def test_the_number_format_is_not_reduced_by_the_memory_of_the_old_model(
    folder: Path,
) -> None:
    engine = engine_of(folder, "keep")
    before = (await engine.info()).dtype
    assert await engine.reload()
    assert engine._current.engine._settings.dtype == before
    await engine.aclose()


async def test_a_client_learns_that_prompts_are_read_differently(folder: Path) -> None:
    """Its token ids could mean something else to a model of the same name."""
    engine = engine_of(folder, "keep")
    async with serving(engine) as endpoint:
        client = HttpEngine(endpoint)

        async def ask() -> int:
            ids = (await client.tokenizer()).encode("def mean")
            request = GenerationRequest(tuple(ids), 4)
            async with aclosing(client.stream(request)) as chunks:
                return len([chunk async for chunk in chunks])

        assert await ask()
        window = (await client.info()).context_window
        assert await engine.reload()  # the same files
        assert await ask()
        replace_weights(folder, n_positions=2048)
        assert await engine.reload()
        with pytest.raises(EngineReplacedError, match="has changed"):
            await ask()
        assert await ask()
        assert (await client.info()).context_window == 2048 != window
        await client.aclose()
    await engine.aclose()


async def test_replicas_of_a_model_have_the_same_fingerprint(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    engines = [engine_of(each, "keep") for each in (folder, copy)]
    first, second = [(await engine.info()).fingerprint for engine in engines]
    assert first == second != ""
    for engine in engines:
        await engine.aclose()


async def keep_asking(plain: httpx2.AsyncClient) -> None:
    while True:
        await complete(plain)


async def test_requests_without_pause_all_succeed_during_reloads(folder: Path) -> None:
    for mode in MODES:
        engine = engine_of(folder, mode)
        async with (
            serving(engine) as endpoint,
            httpx2.AsyncClient(base_url=endpoint.url, timeout=60) as plain,
        ):
            await complete(plain)
            clients = [asyncio.create_task(keep_asking(plain)) for _ in range(4)]
            for _ in range(3):
                assert await engine.reload()
            assert not any(client.done() for client in clients)  # no request has failed
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        await engine.aclose()


def test_the_signal_reloads_a_real_server(folder: Path, tmp_path: Path) -> None:
    with serve_process(tmp_path, folder) as server, httpx2.Client(base_url=server.url) as plain:

        def complete() -> str:
            body = plain.post("/v1/completions", json=BODY, timeout=60).json()
            return str(body["choices"][0]["text"])

        old = complete()
        replace_weights(folder)
        server.send(signal.SIGHUP)
        server.wait_for("the new model is ready")
        assert complete() != old
        damage(folder)
        server.send(signal.SIGHUP)
        server.wait_for("was not loaded again: .*config.json.* The old one stays")
        assert complete() != old
        assert plain.get("/health").json()["state"] == EngineState.READY
        assert 'reloads_total{result="failure"} 1.0' in plain.get("/metrics").text

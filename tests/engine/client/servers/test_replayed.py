"""The recorded answers of real servers become the output of our own engine."""

import asyncio
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.api import Chunk
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.local import LocalEngine
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer
from tests.engine.client.servers.recording import DEMO, FOLDER, collect, replaying, requests

SERVERS = ("vllm", "llama_cpp")
NAMES = tuple(requests(Tokenizer.from_file(DEMO)))


@pytest.fixture(scope="module")
def ours() -> dict[str, Chunk]:
    """The outputs of our own engine, by name."""

    async def generate() -> dict[str, Chunk]:
        engine = LocalEngine(EngineSettings("demo", dtype="float32", device="cpu"))
        every = requests(Tokenizer.from_file(DEMO))
        outputs = {name: await collect(engine, request) for name, request in every.items()}
        await engine.aclose()
        return outputs

    with ThreadPoolExecutor() as pool:  # a thread that has no event loop yet
        return pool.submit(asyncio.run, generate()).result()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", NAMES)
async def test_an_output_is_that_of_our_engine(
    server: str, name: str, ours: dict[str, Chunk], tmp_path: Path
) -> None:
    request = requests(Tokenizer.from_file(DEMO))[name]
    expected = ours[name]
    async with replaying(server, tmp_path) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=DEMO))
        output = await collect(client, request)
        await client.aclose()
    assert output.finish is expected.finish
    if name == "several bytes" and server == "llama_cpp":
        # This server reports no tokens that leave a character incomplete, nor such an end.
        assert output.text == expected.text.rstrip("\N{REPLACEMENT CHARACTER}")
        assert len(output.ids) == len(output.ends) == len(output.logprobs) < len(expected.ids)
        return
    assert (output.text, output.ids, output.ends) == (expected.text, expected.ids, expected.ends)
    if request.forced_prefix:
        # The first token is scored among those that the server reports, ours among all.
        assert len(output.logprobs) == len(expected.logprobs)
        assert all(score.logprob <= 0 for score in output.logprobs)
    else:
        scores = [score.logprob for score in output.logprobs]
        assert scores == pytest.approx([each.logprob for each in expected.logprobs], abs=0.01)
    assert [score.id for score in output.logprobs] == [each.id for each in expected.logprobs]


@pytest.mark.parametrize("server", SERVERS)
async def test_alternatives_are_those_of_our_engine(
    server: str, ours: dict[str, Chunk], tmp_path: Path
) -> None:
    every = requests(Tokenizer.from_file(DEMO))
    async with replaying(server, tmp_path) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=DEMO))
        for name in ("alternatives", "alternatives of a half-typed word"):
            (expected,) = ours[name].logprobs
            (score,) = (await collect(client, every[name])).logprobs
            common = min(len(score.top), len(expected.top))
            assert [id_ for id_, _ in score.top] == [id_ for id_, _ in expected.top][:common]
            assert 2 <= common <= 4
            assert score.top[0] == (score.id, score.logprob)
            # The less likely alternatives that the server does not report count as impossible.
            excess = math.exp(score.logprob) - math.exp(expected.logprob)
            assert -0.01 < excess < 0.1
        await client.aclose()


@pytest.mark.parametrize(
    ("server", "name", "window"),
    [
        ("vllm", "starcoder-demo", 1024),
        ("llama_cpp", "demo.gguf", 1024),
    ],
)
async def test_the_window_is_that_of_one_request(
    server: str, name: str, window: int, tmp_path: Path
) -> None:
    async with replaying(server, tmp_path) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=DEMO))
        info = await client.info()
        smaller = HttpEngine(endpoint, RemoteModel(None, DEMO, 300))
        larger = HttpEngine(endpoint, RemoteModel(None, DEMO, 9000))
        assert (await smaller.info()).context_window == 300
        assert (await larger.info()).context_window == window
        for each in (client, smaller, larger):
            await each.aclose()
    assert info.context_window == window
    assert info.model.endswith(name)


def test_the_recorded_vllm_includes_the_stop_id() -> None:
    """Otherwise the comparison with our engine would not show that it is left out."""
    recorded = json.loads((FOLDER / "vllm.json").read_text(encoding="utf-8"))
    (end,) = Tokenizer.from_file(DEMO).encode("def")
    assert any(
        f'"token_ids":[{end}]' in each["answer"]
        for each in recorded
        if each["body"] and each["body"].get("stop_token_ids") == [end]
    )

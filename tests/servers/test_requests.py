"""Requests to each server directly: that they end when they are cancelled, and what is reported."""

import json
import re

import httpx2
import pytest

from benchmarks.servers.fleet import Fleet
from benchmarks.servers.process import ServerProcess
from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob
from engine.client.http import HttpEngine
from engine.local import LocalEngine
from tests.servers.conftest import REPORT_NO_PROBABILITIES, until

LONG = GenerationRequest((20, 30, 40), 900)
"""A request to which the demo model writes until 900 tokens are reached."""
SECONDS_TO_CANCEL = 1.0
TOLERANCE = {"llama": 1e-2, "vllm": 1e-3, "router": 1e-3}
"""Differences of log-probabilities. llama.cpp reads GELU from a table in float16."""
BEFORE = """\
    return dialogues


def _parse(row: object) -> Iterator[Dialogue]:
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object.")
    if "messages" in row:
        if not isinstance(row["messages"], list):
            rai"""
AFTER = """
        yield _check([_message(message) for message in row["messages"]])
    elif isinstance(row.get("prompt"), dict):
        yield from _paths(row["prompt"], ())
    elif isinstance(row.get("prompt"""
"""The demo model ends the text between these two itself."""
PROMPT = "import json\n\n\ndef save(path, data):\n    json."


def running_requests(http: httpx2.Client, server: ServerProcess, kind: str) -> float:
    """Return how many requests a server computes or lets wait now, as it says itself."""
    headers = {"Authorization": f"Bearer {server.token}"}
    path = "/slots" if kind == "llama" else "/metrics"
    answer = http.get(server.url + path, headers=headers)
    assert answer.is_success, answer.text
    if kind == "llama":
        return sum(slot["is_processing"] for slot in json.loads(answer.text))
    pattern = r"^vllm:num_requests_(?:running|waiting)\{.*\} ([0-9.]+)$"
    counts = re.findall(pattern, answer.text, re.MULTILINE)
    assert len(counts) == 2
    return sum(map(float, counts))


async def test_a_cancelled_request_ends_on_the_server(
    name: str, servers: Fleet, remote: HttpEngine
) -> None:
    computing = [servers["llama"]] if name == "llama" else [servers.vllm(0)]
    if name == "router":
        computing.append(servers.vllm(1))
    kind = "llama" if name == "llama" else "vllm"

    with httpx2.Client(timeout=5, trust_env=False) as http:

        def running() -> float:
            return sum(running_requests(http, each, kind) for each in computing)

        await until(lambda: running() == 0, 10)
        stream = remote.stream(LONG)
        await anext(stream)
        await until(lambda: running() == 1, 2)
        await stream.aclose()
        await until(lambda: running() == 0, SECONDS_TO_CANCEL)


async def collect(engine: HttpEngine | LocalEngine, request: GenerationRequest) -> list[Chunk]:
    return [chunk async for chunk in engine.stream(request)]


async def test_probabilities_are_those_of_our_engine(
    name: str, remote: HttpEngine, ours: LocalEngine
) -> None:
    if name in REPORT_NO_PROBABILITIES:
        return
    prompt = tuple((await ours.tokenizer()).encode(PROMPT))
    request = GenerationRequest(prompt, 8, logprobs=3)
    reported: list[list[TokenLogprob]] = []
    for engine in (ours, remote):
        chunks = await collect(engine, request)
        reported.append([score for chunk in chunks for score in chunk.logprobs])
        assert [score.id for score in reported[-1]] == [
            id_ for chunk in chunks for id_ in chunk.ids
        ]
    assert len(reported[0]) == 8
    for expected, actual in zip(*reported, strict=True):
        assert actual.id == expected.id
        assert actual.logprob == pytest.approx(expected.logprob, abs=TOLERANCE[name])
        assert [id_ for id_, _ in actual.top] == [id_ for id_, _ in expected.top]
        assert [value for _, value in actual.top] == pytest.approx(
            [value for _, value in expected.top], abs=TOLERANCE[name]
        )


async def test_an_output_that_ends_has_no_stop_id(
    name: str, remote: HttpEngine, ours: LocalEngine
) -> None:
    tokenizer = await ours.tokenizer()
    prefix, suffix, middle = (
        tokenizer.special_id(f"<fim_{part}>") for part in ("prefix", "suffix", "middle")
    )
    assert prefix
    assert suffix
    assert middle
    after, before = tokenizer.encode(AFTER), tokenizer.encode(BEFORE)
    prompt = (prefix, suffix, *after, middle, *before)
    texts = []
    for engine in (ours, remote):
        chunks = await collect(engine, GenerationRequest(prompt, 30, frozenset({0})))
        assert chunks[-1].finish is FinishReason.STOP
        ids = [id_ for chunk in chunks for id_ in chunk.ids]
        texts.append("".join(chunk.text for chunk in chunks))
        assert tokenizer.decode(ids) == texts[-1] or (name == "litellm" and not ids)
    assert texts[0] == texts[1] != ""

"""The metrics agree with what the clients count themselves, and have few series."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import httpx2
import openai
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from engine.api import Chunk, EngineInfo, GenerationRequest
from engine.errors import StarcoderError
from engine.scripted import ScriptedEngine
from tests.engine.server.serving import serving, until

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class Scrape:
    """The samples of one answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The value of a series; 0 if it does not exist."""
        return self._values.get((f"starcoder_{name}", frozenset(labels.items())), 0.0)

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series that have these labels, among others."""
        labels_asked = set(labels.items())
        return sum(
            value
            for (each, have), value in self._values.items()
            if each == f"starcoder_{name}" and labels_asked <= have
        )


async def scrape(plain: httpx2.AsyncClient) -> Scrape:
    return Scrape((await plain.get("/metrics")).text)


def tokens_of(usage: Mapping[str, int]) -> Counter[str]:
    return Counter({name: usage[name] for name in ("prompt_tokens", "completion_tokens")})


async def test_the_counts_are_those_of_the_clients() -> None:
    """Clients of all kinds count requests, statuses and tokens; so does the server."""
    engine = ScriptedEngine(lambda _: "a b\nc", seconds_per_token=0.001)
    counted, statuses = (
        {COMPLETIONS: Counter[str](), CHAT: Counter[str]()},
        Counter[tuple[str, int]](),
    )

    async def ask(plain: httpx2.AsyncClient, path: str, body: object) -> None:
        answer = await plain.post(path, json=body)
        statuses[path, answer.status_code] += 1
        if answer.is_success:
            counted[path] += tokens_of(answer.json()["usage"])

    message = [{"role": "user", "content": "hello"}]
    async with (
        serving(engine) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url) as plain,
        openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="none") as client,
    ):
        await asyncio.gather(
            *(ask(plain, COMPLETIONS, {"prompt": "x" * n, "max_tokens": n}) for n in range(1, 9)),
            *(ask(plain, CHAT, {"messages": message, "max_tokens": n}) for n in range(1, 4)),
            ask(plain, COMPLETIONS, {"prompt": ["ab", "cde"], "max_tokens": 2}),
            ask(
                plain, COMPLETIONS, {"prompt": "abc", "max_tokens": 1, "echo": True, "logprobs": 1}
            ),
            ask(plain, COMPLETIONS, {"prompt": "x", "max_tokens": 0}),
            ask(plain, COMPLETIONS, {"prompt": "x", "n": 3}),
            ask(plain, CHAT, {"messages": []}),
        )
        stream = await client.completions.create(
            model="any",
            prompt="xyz",
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
        statuses[COMPLETIONS, 200] += 1
        async for event in stream:
            if event.usage:
                counted[COMPLETIONS] += tokens_of(event.usage.model_dump())
        for path in ("/v1/none", "/etc/passwd?x=1", "/metrics/", "/v1/models/a", "/a", "/b"):
            assert (await plain.get(path)).status_code == 404
        assert (await plain.get(COMPLETIONS)).status_code == 405
        statuses[COMPLETIONS, 405] += 1
        now = await scrape(plain)

    for (path, status), number in statuses.items():
        shown = now.total("http_requests_total", route=path, status=str(status))
        assert shown == number, (path, status)
        errors = number if status >= 400 else 0
        assert now.value("request_errors_total", route=path, status=str(status)) == errors
    for path, tokens in counted.items():
        assert now.value("prompt_tokens_total", route=path) == tokens["prompt_tokens"] > 0
        assert now.value("generation_tokens_total", route=path) == tokens["completion_tokens"] > 0
    answered = statuses[COMPLETIONS, 200]
    assert now.value("time_to_first_token_seconds_count", route=COMPLETIONS) == answered
    # One request had two prompts.
    assert now.value("request_queue_time_seconds_count", route=COMPLETIONS) == answered + 1
    assert now.value("http_requests_total", route="other", status="404", end="refused") == 6
    assert now.value("scored_tokens_total", route=COMPLETIONS) == 3
    assert now.value("e2e_request_latency_seconds_count", route=CHAT) == 4
    assert {s.labels.get("route") for f in now.families for s in f.samples} <= {
        None,
        COMPLETIONS,
        CHAT,
        "other",
    }


async def test_the_time_between_tokens_is_counted_per_token() -> None:
    engine = ScriptedEngine(lambda _: "abcdefgh", seconds_per_token=0.03)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        await plain.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 6, "stream": True})
        now = await scrape(plain)
    assert now.value("inter_token_latency_seconds_count", route=COMPLETIONS) == 5
    assert now.value("inter_token_latency_seconds_bucket", route=COMPLETIONS, le="0.02") == 0
    assert now.value("inter_token_latency_seconds_sum", route=COMPLETIONS) >= 0.15
    assert now.value("time_to_first_token_seconds_sum", route=COMPLETIONS) >= 0.03
    assert now.value("time_to_first_token_seconds_bucket", route=COMPLETIONS, le="0.02") == 0
    assert now.value("e2e_request_latency_seconds_sum", route=COMPLETIONS) >= 0.18


class Pairs(ScriptedEngine):
    """Generates two tokens at a time, as an engine does whose draft tokens are right."""

    async def generate(self, request: GenerationRequest):  # type: ignore[no-untyped-def]
        """Yield chunks of two tokens, and the last one."""
        first: Chunk | None = None
        async for chunk in super().generate(request):
            if first is None and chunk.finish is None:
                first = chunk
            elif first is None:
                yield chunk
            else:
                yield replace(chunk, text=first.text + chunk.text, ids=first.ids + chunk.ids)
                first = None


async def test_the_time_of_several_tokens_that_arrive_together_is_divided() -> None:
    engine = Pairs(lambda _: "abcdefgh", seconds_per_token=0.02)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        await plain.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 6, "stream": True})
        now = await scrape(plain)
    names = ("time_to_first_token", "inter_token_latency", "e2e_request_latency")
    first, between, all_ = (now.value(f"{name}_seconds_sum", route=COMPLETIONS) for name in names)
    assert now.value("inter_token_latency_seconds_count", route=COMPLETIONS) == 4
    assert first >= 0.04
    assert between >= 0.08
    assert first + between <= all_


@dataclass
class Waiting(ScriptedEngine):
    """Waits for its model and for other requests until a test lets it go on."""

    is_loaded: asyncio.Event = field(default_factory=asyncio.Event)
    may_start: asyncio.Event = field(default_factory=asyncio.Event)

    async def info(self) -> EngineInfo:
        """Wait for the model."""
        await self.is_loaded.wait()
        return await super().info()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Wait for other requests."""
        await self.may_start.wait()
        async with aclosing(super().stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk


async def test_questions_that_wait_are_counted_while_they_wait() -> None:
    engine = Waiting(lambda _: "ab")

    async def becomes(number: int) -> None:
        async with asyncio.timeout(5):
            while (await scrape(plain)).value("num_requests_waiting") != number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        requests = [
            asyncio.create_task(plain.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 2}))
            for _ in range(2)
        ]
        await becomes(2)  # for the model
        engine.is_loaded.set()
        await becomes(2)  # for others
        requests[0].cancel()
        await becomes(1)
        engine.may_start.set()
        assert (await requests[1]).is_success
        await becomes(0)


async def test_a_request_that_its_client_gives_up_is_no_error() -> None:
    engine = ScriptedEngine(lambda _: "x" * 10_000, seconds_per_token=0.005)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        async with plain.stream(
            "POST", COMPLETIONS, json={"prompt": "abc", "max_tokens": 9000, "stream": True}
        ) as response:
            await anext(response.aiter_text())
        await until(lambda: engine.stopped_early == 1)
        await asyncio.sleep(0.05)
        now = await scrape(plain)
    assert now.value("http_requests_total", route=COMPLETIONS, status="200", end="cancelled") == 1
    assert now.total("request_errors_total") == 0
    assert now.value("generation_tokens_total", route=COMPLETIONS) == engine.tokens_written > 0


class Failing(ScriptedEngine):
    """Fails in the middle of its output."""

    async def generate(self, request: GenerationRequest):  # type: ignore[no-untyped-def]
        """Yield two chunks, then raise."""
        number = 0
        async for chunk in super().generate(request):
            yield chunk
            number += 1
            if number == 2:
                raise StarcoderError("The engine failed.")


async def test_a_failure_in_the_middle_of_a_stream_is_an_error() -> None:
    engine = Failing(lambda _: "abcdef")
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        await plain.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 6, "stream": True})
        now = await scrape(plain)
    assert now.value("http_requests_total", route=COMPLETIONS, status="200", end="failed") == 1
    assert now.value("request_errors_total", route=COMPLETIONS, status="200") == 1


async def test_every_metric_has_a_help_text_and_a_unit_in_its_name() -> None:
    engine = ScriptedEngine(lambda _: "ab")
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        await plain.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 2})
        text = (await plain.get("/metrics")).text
        openmetrics = await plain.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
    families = Scrape(text).families
    assert len(families) > 15
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith("starcoder_")
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
            bounds = [s.labels["le"] for s in family.samples if s.name.endswith("_bucket")]
            assert {"0.005", "0.3", "10.0"} <= set(bounds), family.name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
    assert "_created" not in text
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    parsed = list(read_openmetrics(openmetrics.text))  # type: ignore[no-untyped-call]
    assert "starcoder_prompt_tokens" in {family.name for family in parsed}


async def test_two_applications_share_no_metrics() -> None:
    engines = [ScriptedEngine(lambda _: "ab") for _ in range(2)]
    async with serving(engines[0]) as first, serving(engines[1]) as second:
        async with httpx2.AsyncClient(base_url=first.url) as plain:
            await plain.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 2})
            assert (await scrape(plain)).total("prompt_tokens_total") == 1
        async with httpx2.AsyncClient(base_url=second.url) as plain:
            assert (await scrape(plain)).total("prompt_tokens_total") == 0

"""The engine's HTTP interface lists its model, tokenizer and metrics."""

from pathlib import Path

import httpx2
import openai

from engine.scripted import ScriptedEngine
from engine.tokenizer import Tokenizer
from tests.engine.server.serving import serving


async def test_the_model_is_listed(client: openai.AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [model.id for model in models] == ["scripted"]
    assert models[0].model_dump()["max_model_len"] == 100_000


async def test_the_tokenizer_is_transferred_without_loss(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    uds = tmp_path / "s"
    transport = httpx2.AsyncHTTPTransport(uds=str(uds))
    async with (
        serving(engine, uds=uds),
        httpx2.AsyncClient(transport=transport, base_url="http://engine") as plain,
    ):
        answer = await plain.get("/tokenizer.json")
    fetched = Tokenizer.from_json(answer.text)
    text = "def naïve():\n\treturn '<fim_prefix> 🌍'"
    assert fetched.encode(text) == engine.model_tokenizer.encode(text)
    assert fetched.decode(fetched.encode(text)) == text
    assert fetched.special_tokens == engine.model_tokenizer.special_tokens


async def test_metrics_have_the_prometheus_format(
    client: openai.AsyncOpenAI, engine: ScriptedEngine
) -> None:
    await client.completions.create(model="any", prompt="x", max_tokens=5)
    async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
        answer = await plain.get("../metrics")
    assert answer.status_code == 200
    lines = answer.text.splitlines()
    assert "# TYPE starcoder_computed_tokens_total counter" in lines
    assert f"starcoder_computed_tokens_total {float(engine.tokens_written)}" in lines
    assert "starcoder_engine_requests_total 1.0" in lines
    assert "# TYPE starcoder_kv_cache_bytes gauge" in lines

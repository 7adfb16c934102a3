"""LiteLLM with docs/team/litellm.yaml, and vllm-router, in front of real `serve` processes."""

import asyncio
import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import httpx2
import openai
import pytest

from engine.api import GenerationRequest
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from tests.serve_process import ServeProcess, serve_process
from tests.team.programs import server_program

ROOT = Path(__file__).parents[2]
PROMPT = "def add(a, b):\n    return"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@asynccontextmanager
async def front_end(
    folder: Path, url: str, command: list[str], **variables: str
) -> AsyncIterator[None]:
    """Run a program inside the block, from when it answers."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (folder / "front.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**environment, "HOME": str(folder), **variables},
        )
    try:
        async with asyncio.timeout(150), httpx2.AsyncClient(base_url=url) as plain:
            while True:
                try:
                    await plain.get("/v1/models")
                    break
                except httpx2.HTTPError:
                    assert process.returncode is None, (folder / "front.log").read_text()
                    await asyncio.sleep(0.2)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def start(stack: AsyncExitStack, folder: Path, number: int) -> list[ServeProcess]:
    servers = []
    for each in range(number):
        own = folder / str(each)
        own.mkdir()
        servers.append(stack.enter_context(serve_process(own, "demo", "--token", "secret")))
    return servers


async def text_of(client: openai.AsyncOpenAI, model: str) -> str:
    answer = await client.completions.create(
        model=model, prompt=PROMPT, max_tokens=8, temperature=0
    )
    return answer.choices[0].text


@pytest.mark.timeout(300)
async def test_litellm_answers_with_the_example(tmp_path: Path) -> None:
    litellm = server_program("litellm/bin/litellm")
    async with AsyncExitStack() as stack:
        (server,) = start(stack, tmp_path, 1)
        text = (ROOT / "docs/team/litellm.yaml").read_text(encoding="utf-8")
        text = text.replace("http://127.0.0.1:8765", server.url)
        (tmp_path / "litellm.yaml").write_text(text.replace("bigcode/starcoder", "demo"))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [litellm, "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
        await stack.enter_async_context(
            front_end(
                tmp_path, url, command, STARCODER_KEY="secret", LITELLM_MASTER_KEY="sk-master"
            )
        )
        direct = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="secret")
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-master", timeout=60)
        assert await text_of(client, "starcoder") == await text_of(direct, "demo") != ""
        stream = await client.completions.create(
            model="starcoder", prompt=PROMPT, max_tokens=8, temperature=0, stream=True
        )
        parts = [event.choices[0].text async for event in stream if event.choices]
        assert "".join(part for part in parts if part) == await text_of(direct, "demo")
        chat = await client.chat.completions.create(
            model="starcoder-chat", messages=[{"role": "user", "content": "hello"}], max_tokens=4
        )
        assert chat.choices[0].message.content
        stranger = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-other", max_retries=0)
        with pytest.raises(openai.APIStatusError):
            await text_of(stranger, "starcoder")
        for each in (direct, client, stranger):
            await each.close()


@pytest.mark.timeout(300)
async def test_vllm_router_divides_requests_between_two_servers(tmp_path: Path) -> None:
    router = server_program("router/bin/vllm-router")
    async with AsyncExitStack() as stack:
        servers = start(stack, tmp_path, 2)
        port, metrics_port = free_port(), free_port()
        url = f"http://127.0.0.1:{port}"
        command = [router, "--worker-urls", *(server.url for server in servers)]
        command += ["--policy", "cache_aware", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--prometheus-port", str(metrics_port), "--api-key", "secret"]
        await stack.enter_async_context(front_end(tmp_path, url, command))
        # The language server's client finds our tokenizer and fields through the router.
        engine = HttpEngine(Endpoint(url, token="secret"))
        ids = (await engine.tokenizer()).encode(PROMPT)

        async def ask(prompt: tuple[int, ...]) -> int:
            async with aclosing(engine.stream(GenerationRequest(prompt, 8))) as chunks:
                return sum([len(chunk.ids) async for chunk in chunks])

        numbers = await asyncio.gather(*(ask((*ids, each)) for each in range(20, 44)))
        assert all(numbers)
        counts = []
        for server in servers:
            async with httpx2.AsyncClient(base_url=server.url) as plain:
                text = (await plain.get("/metrics")).text
            match = re.search(r'^starcoder_e2e.*_count.*completions"} (\d+)', text, re.M)
            counts.append(int(match[1]) if match else 0)
        assert sum(counts) == 24, counts
        await engine.aclose()

"""A server that comes back with another model. The last tests: they replace one of the vLLMs."""

import asyncio

import pytest

from benchmarks.servers.fleet import KEY, Fleet
from benchmarks.servers.kinds import start_llama, start_vllm, wait_for
from benchmarks.servers.process import ServerProcess
from tests.e2e.client import start
from tests.servers.conftest import require, settings_for
from tests.servers.typist import until_reported, until_suggested

TEXT = "import json\n\n\ndef save(path):\n    json."
OTHER = "another-model"


def first_server(servers: Fleet, kind: str) -> ServerProcess:
    """Return a server that is needed no longer."""
    require(servers, kind)
    if kind == "vllm":
        return servers.vllm(1)
    return wait_for(kind, servers.add(start_llama(servers.place, token=KEY)))


def replace(servers: Fleet, kind: str, port: int) -> ServerProcess:
    """Start a server with another model at a port, and wait until it is ready."""
    starter = {"llama": start_llama, "vllm": start_vllm}[kind]
    return wait_for(kind, servers.add(starter(servers.place, name=OTHER, token=KEY, port=port)))


@pytest.mark.parametrize("kind", ["llama", "vllm"])
async def test_another_model_at_the_same_address_is_used(kind: str, servers: Fleet) -> None:
    old = await asyncio.to_thread(first_server, servers, kind)
    async with start(settings=settings_for(old)) as editor:
        editor.open(TEXT)
        await until_suggested(editor)
        await asyncio.to_thread(old.stop)
        assert old.url.removeprefix("http://") in await until_reported(editor)
        await asyncio.to_thread(replace, servers, kind, old.port)
        await until_suggested(editor)
        assert (await editor.wait_for_state("ready"))["model"] == OTHER

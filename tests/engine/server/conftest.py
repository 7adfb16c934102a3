"""A fake engine, served by the real HTTP server, and OpenAI's client for it."""

from collections.abc import AsyncIterator

import openai
import pytest

from engine.scripted import ScriptedEngine
from tests.engine.server.serving import OUTPUT, connected_client


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(lambda _: OUTPUT)


@pytest.fixture
async def client(engine: ScriptedEngine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with connected_client(engine) as client:
        yield client

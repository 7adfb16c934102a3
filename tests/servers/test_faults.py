"""What users notice of a server that refuses their key or does not answer."""

from collections.abc import Iterator

import pytest

from benchmarks.servers.fleet import Fleet
from benchmarks.servers.process import ServerProcess
from tests.e2e.client import start
from tests.servers.conftest import require, settings_for
from tests.servers.typist import until_reported, until_suggested

TEXT = "import json\n\n\ndef save(path):\n    json."


@pytest.fixture
def resumed(server: ServerProcess) -> Iterator[ServerProcess]:
    """A server that a test may suspend. It goes on at the end."""
    yield server
    server.resume()


async def test_a_wrong_key_is_reported_with_its_setting(name: str, server: ServerProcess) -> None:
    """Without a database, LiteLLM answers each unknown key with this text and status 400."""
    expected = {"litellm": "No connected db"}.get(name, "starcoder.engineToken")
    async with start(settings=settings_for(server, engineToken="sk-other")) as editor:
        editor.open(TEXT)
        detail = await until_reported(editor)
        assert expected in detail
        assert "sk-other" not in detail


async def test_a_server_that_does_not_answer_is_noticed_and_used_again(
    resumed: ServerProcess,
) -> None:
    async with start(settings=settings_for(resumed)) as editor:
        editor.open(TEXT)
        await until_suggested(editor)
        resumed.suspend()
        detail = await until_reported(editor)
        assert resumed.url.removeprefix("http://") in detail
        resumed.resume()
        await until_suggested(editor)
        await editor.wait_for_state("ready")


async def test_litellm_with_a_server_that_does_not_answer_is_noticed(servers: Fleet) -> None:
    """The proxy itself answers, also to questions for its health."""
    require(servers, "litellm")
    async with start(settings=settings_for(servers["litellm"])) as editor:
        editor.open(TEXT)
        await until_suggested(editor)
        servers.vllm(0).suspend()
        try:
            assert await until_reported(editor, 45)
        finally:
            servers.vllm(0).resume()
        await until_suggested(editor)

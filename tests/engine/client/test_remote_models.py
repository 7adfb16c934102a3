"""Which model at a URL is used, and with which tokenizer."""

import asyncio
from pathlib import Path

import pytest

from engine.api import EngineState
from engine.client.remote import RemoteEngine
from engine.client.remote_model import RemoteModel
from engine.errors import (
    EngineReplacedError,
    ModelNotFoundError,
)
from engine.scripted import byte_tokenizer
from tests.engine.client.watching import REQUEST, text_of, until, watched
from tests.remote_server import Server, response

pytestmark = pytest.mark.usefixtures("short_times")


@pytest.mark.parametrize("asks", [True, False])
async def test_another_model_at_the_url_is_used(
    asks: bool, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asks:  # the request itself finds out
        monkeypatch.setattr("engine.client.remote_watch.CHECK_S", 60)
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        assert (await engine.info()).model == "one"
        old_tokenizer = await engine.tokenizer()
        server.models = [{"id": "two", "max_model_len": 99}]
        if asks:
            gone = response(404, {"error": "no model one"})
            server.next_faults = [("/v1/completions", gone)]
            with pytest.raises(EngineReplacedError, match="two"):
                await text_of(engine)
        else:
            await until(lambda: reports[-1].info and reports[-1].info.model == "two")
            with pytest.raises(EngineReplacedError, match="two"):
                await anext(engine.stream(REQUEST))
        info = await engine.info()
        assert (info.model, info.context_window) == ("two", 99)
        assert await engine.tokenizer() is not old_tokenizer
        assert await text_of(engine) == "1"
        assert server.bodies[-1]["model"] == "two"
        assert reports[-1].generation == 2


async def test_a_model_of_the_same_name_with_other_weights_is_another(
    server: Server, folder: Path
) -> None:
    server.models = [{"id": "one", "root": "/a", "created": 1}]
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.READY)
        server.models = [{"id": "one", "root": "/a", "created": 2}]
        await asyncio.sleep(0.3)
        assert reports[-1].generation == 1
        server.models = [{"id": "one", "root": "/b", "created": 3}]
        await until(lambda: reports[-1].generation == 2)


async def test_the_model_that_the_setting_names_is_used(server: Server, folder: Path) -> None:
    server.models.append({"id": "lora", "parent": "one", "max_model_len": 77})
    engine = RemoteEngine(server.endpoint, RemoteModel("lora", folder))
    assert (await engine.info()).context_window == 77
    assert await text_of(engine) == "1"
    assert server.bodies[-1]["model"] == "lora"
    await engine.aclose()
    missing = RemoteEngine(server.endpoint, RemoteModel("poet", folder))
    with pytest.raises(ModelNotFoundError, match=r"engineModel to one that it has \(one, lora\)"):
        await missing.info()
    await missing.aclose()


async def test_a_missing_tokenizer_is_no_ready_engine(server: Server) -> None:
    engine = RemoteEngine(server.endpoint)
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.FAILED)
        assert "starcoder.tokenizer" in reports[-1].detail


async def test_the_tokenizer_of_another_model_is_noticed(server: Server, folder: Path) -> None:
    ids = byte_tokenizer().encode("something else")
    server.faults["/tokenize"] = response(200, {"tokens": ids, "count": len(ids)})
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    async with watched(engine) as reports:
        await until(lambda: reports and reports[-1].state is EngineState.FAILED)
        assert "starcoder.tokenizer" in reports[-1].detail
        from engine.client.tokenizer_check import _SAMPLE

        ids = byte_tokenizer().encode(" " + _SAMPLE)
        server.faults["/tokenize"] = response(200, {"tokens": ids, "count": len(ids)})
        await until(lambda: reports[-1].state is EngineState.READY)
    for odd in ({"tokens": ["a"]}, {"tokens": []}, {"tokens": [10**9]}, {}):
        server.faults["/tokenize"] = response(200, odd)
        other = RemoteEngine(server.endpoint, RemoteModel(None, folder))
        is_wrong = odd == {"tokens": [10**9]}
        assert (await other.health()).state is EngineState[("READY", "FAILED")[is_wrong]]
        await other.aclose()


async def test_the_folder_of_the_tokenizer_says_what_our_engine_would(
    server: Server, folder: Path
) -> None:
    (folder / "config.json").write_text('{"fim_form": "cursor", "model_type": "llama"}')
    (folder / "chat_template.jinja").write_text("T")
    engine = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    info = await engine.info()
    assert (info.fim_form, info.model_type, info.chat_template) == ("cursor", "llama", "T")
    (folder / "config.json").write_text("{")
    other = RemoteEngine(server.endpoint, RemoteModel(None, folder))
    assert "starcoder.tokenizer" in (await other.health()).detail
    for each in (engine, other):
        await each.aclose()

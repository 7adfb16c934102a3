"""Servers of which nothing but OpenAI's API is known, and answers that are not complete."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.api import FinishReason, GenerationRequest, Priority, Sampling
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.errors import EngineLostError, EngineUnavailableError, RequestError, StarcoderError
from engine.scripted import byte_tokenizer
from engine.tokenizer import Tokenizer
from tests.engine.client.servers.recording import collect
from tests.engine.client.test_http import running

TOKENIZER = byte_tokenizer()
Answer = Callable[[dict[str, Any]], Response]


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text))


def sse(*events: dict[str, Any] | str) -> Response:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in events]
    return Response("".join(f"data: {line}\n\n" for line in lines), media_type="text/event-stream")


def text_event(text: str | None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish, **fields}]}


@asynccontextmanager
async def server(
    folder: Path, answer: Answer, entry: dict[str, Any] | None = None, **pages: Any
) -> AsyncIterator[Endpoint]:
    """Serve a model `m`; `answer` gets the body of each completion request."""

    async def completions(request: Request) -> Response:
        return answer(await request.json())

    def page(content: Any) -> Callable[[Request], JSONResponse]:
        return lambda _: JSONResponse(content)

    listed = {"data": [{"id": "m", **(entry or {})}]}
    routes = [Route("/v1/models", page(listed))]
    routes += [Route(f"/{name}", page(content)) for name, content in pages.items()]
    paths = ("/v1/completions", "/completion")
    routes += [Route(path, completions, methods=["POST"]) for path in paths]
    (folder / "tokenizer.json").write_text(TOKENIZER.to_json(), encoding="utf-8")
    async with running(Starlette(routes=routes), folder / "s") as endpoint:
        yield endpoint


SLOTS = {"default_generation_settings": {"n_ctx": 512}}
KINDS: list[tuple[dict[str, Any], dict[str, Any], str, int]] = [
    ({"owned_by": "vllm", "max_model_len": 700}, {}, "vLLM", 700),
    ({"max_model_len": 700}, {"version": {"version": "0.32.0"}}, "vLLM", 700),
    ({"owned_by": "sglang", "max_model_len": 700}, {"version": {"version": "1"}}, "OpenAI", 700),
    ({"max_model_len": 700}, {}, "OpenAI", 700),
    ({"max_model_len": "700"}, {}, "OpenAI", 2048),
    ({"owned_by": "openai"}, {"version": {"version": "1"}}, "OpenAI", 2048),
    ({"owned_by": "llamacpp", "meta": {"n_ctx_train": 9}}, {"props": SLOTS}, "llama.cpp", 512),
    ({"meta": {"n_ctx": 300}}, {"props": {"default_generation_settings": {}}}, "llama.cpp", 300),
    ({"owned_by": "llamacpp", "meta": {"n_ctx_train": 9999}}, {}, "OpenAI", 2048),
    ({"owned_by": "llamacpp", "meta": {"n_ctx": 400, "n_ctx_train": 9}}, {}, "OpenAI", 400),
    ({"meta": [1]}, {"props": [1], "version": 7}, "OpenAI", 2048),
]


@pytest.mark.parametrize(("entry", "pages", "kind", "window"), KINDS, ids=str)
async def test_the_kind_of_a_server_is_what_it_says_and_does(
    entry: dict[str, Any],
    pages: dict[str, Any],
    kind: str,
    window: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> Response:
        bodies.append(body)
        return sse(text_event("x", "stop"), "[DONE]")

    async with server(tmp_path, answer, entry, **pages) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        assert (await client.info()).context_window == window
        await collect(client, GenerationRequest(ids("a"), 3)) if kind != "llama.cpp" else None
        limited = HttpEngine(endpoint, RemoteModel(None, tmp_path, 128))
        assert (await limited.info()).context_window == 128
        assert ("2,048 tokens are assumed" in client.note) == (window == 2048)
        assert limited.note == ""
        await client.aclose()
        await limited.aclose()
    assert ("stop_token_ids" in (bodies or [{}])[0]) == (kind == "vLLM")
    assert ("2048 tokens are assumed" in caplog.text) == (window == 2048)


INCOMPLETE: list[tuple[str, Response, str | type[StarcoderError]]] = [
    ("no [DONE]", sse(text_event("a"), text_event("b", "stop")), "ab"),
    ("no finish_reason", sse(text_event("a"), text_event("b"), "[DONE]"), "ab"),
    ("cut", sse(text_event("a"), text_event("b")), EngineLostError),
    ("no choices", sse({"choices": []}, text_event("a"), {}, text_event("b", "stop")), "ab"),
    ("null", sse(text_event(None), text_event("ab"), text_event(None, "length"), "[DONE]"), "ab"),
    ("null fields", sse(text_event("ab", "stop", logprobs=None), {"choices": None}), "ab"),
    ("error event", sse(text_event("a"), {"error": {"message": "no"}}), StarcoderError),
    ("error is null", sse(text_event("ab", "stop", error=None) | {"error": None}), "ab"),
    ("HTML", Response("<html><p>Welcome", media_type="text/html"), EngineUnavailableError),
    ("empty", Response("", media_type="text/event-stream"), EngineLostError),
    ("empty page", Response(""), EngineUnavailableError),
    ("not streamed", JSONResponse(text_event("ab", "stop")), "ab"),
    ("list", sse("[]"), EngineUnavailableError),
    ("text is a number", sse(text_event("a"), text_event(7)), EngineUnavailableError),  # type: ignore[arg-type]
    ("refused", JSONResponse({"error": {"message": "no"}}, 400), RequestError),
]


@pytest.mark.parametrize("entry", [{}, {"owned_by": "vllm"}], ids=["other", "vllm"])
@pytest.mark.parametrize("prefix", ["", "a"])
@pytest.mark.parametrize(
    ("name", "response", "result"), INCOMPLETE, ids=lambda each: str(each)[:20]
)
async def test_an_incomplete_answer_is_the_right_output_or_one_clear_error(
    name: str,
    response: Response,
    result: str | type[StarcoderError],
    prefix: str,
    entry: dict[str, Any],
    tmp_path: Path,
) -> None:
    async with server(tmp_path, lambda _: response, entry) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        request = GenerationRequest(ids("x"), 9, forced_prefix=prefix, logprobs=0)
        if isinstance(result, str):
            output = await collect(client, request)
            # A server that always answers in the same way adds it to the token that it has chosen.
            assert output.text in (result, prefix + result)
            reason = FinishReason.LENGTH if name == "null" else FinishReason.STOP
            assert output.finish is reason
        else:
            with pytest.raises(result):
                await collect(client, request)
        await client.aclose()


def scored(text: str, **alternatives: float) -> dict[str, Any]:
    """An event with log-probabilities as OpenAI's API writes them."""
    return text_event(
        text,
        logprobs={
            "tokens": list(text),
            "token_logprobs": [-0.5] * len(text),
            "top_logprobs": [alternatives] * len(text),
        },
    )


async def test_log_probabilities_whose_tokens_are_texts_are_read(tmp_path: Path) -> None:
    answer = sse(scored("ab", a=-0.5, z=-2.0, unknown=-1.0), text_event("", "stop"), "[DONE]")
    async with server(tmp_path, lambda _: answer) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        output = await collect(client, GenerationRequest(ids("x"), 9, logprobs=2))
        await client.aclose()
    assert (output.text, output.ids, output.ends) == ("ab", ids("ab"), (1, 2))
    assert [score.logprob for score in output.logprobs] == [-0.5, -0.5]
    assert output.logprobs[0].top == ((ids("a")[0], -0.5), (ids("z")[0], -2.0))


async def test_an_alternative_that_agrees_with_the_prefix_is_followed(tmp_path: Path) -> None:
    """The server ignores the restriction, but reports alternatives."""
    prompts: list[str] = []

    def answer(body: dict[str, Any]) -> Response:
        prompts.append(TOKENIZER.decode(body["prompt"]))
        likely = {"x": {"z": -0.1, "a": -3.0}, "xa": {"z": -0.1, "b": -3.0}, "xab": {"c": -0.1}}
        top = likely[prompts[-1]]
        return sse(scored(next(iter(top)), **top), text_event("", "stop"), "[DONE]")

    async with server(tmp_path, answer) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        request = GenerationRequest(ids("x"), 9, forced_prefix="ab", logprobs=0)
        first = await collect(client, request)
        again = await collect(client, request)
        await client.aclose()
    assert first.text == again.text == "abc"
    assert first.logprobs[0].logprob == 0.0  # the only reported token that agrees
    # The second time the client knows that the server ignores restrictions.
    assert prompts == ["xa", "x", "xa", "xab", "x", "xa", "xab"]


async def test_a_server_without_log_probabilities_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usage = {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    answer = sse(text_event("ab", "stop"), {"choices": [], **usage}, "[DONE]")
    async with server(tmp_path, lambda _: answer) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        await collect(client, GenerationRequest(ids("x"), 9))
        assert "log-probabilities" not in caplog.text + client.note
        for _ in range(2):
            output = await collect(client, GenerationRequest(ids("x"), 9, logprobs=0))
            assert (output.text, output.logprobs) == ("ab", ())
            assert output.usage is not None
            assert output.usage.completion_tokens == 2
        assert "log-probabilities" in client.note
        await client.aclose()
    warnings = [each for each in caplog.records if "log-probabilities" in each.message]
    assert [each.levelno for each in warnings] == [logging.WARNING]


@pytest.mark.parametrize(("texts", "is_missing"), [("ab\n", True), ("a", False)])
async def test_missing_log_probabilities_are_noticed_without_usage(
    texts: str, is_missing: bool, tmp_path: Path
) -> None:
    """The client ends most outputs itself, so that it reads no usage."""
    answer = sse(*(text_event(text) for text in texts), text_event("", "stop"), "[DONE]")
    async with server(tmp_path, lambda _: answer) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        await collect(client, GenerationRequest(ids("x"), 9, logprobs=0, single_line=True))
        await client.aclose()
    assert ("log-probabilities" in client.note) == is_missing


@pytest.mark.parametrize("priority", [Priority.COMPLETION, Priority.CHAT])
async def test_missing_token_ids_of_an_answer_are_noticed(
    priority: Priority, tmp_path: Path
) -> None:
    answer = sse(text_event("a"), text_event("b", "stop"), "[DONE]")
    async with server(tmp_path, lambda _: answer) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        await collect(client, GenerationRequest(ids("x"), 9, priority=priority))
        await client.aclose()
    assert ("no token ids" in client.note) == (priority is Priority.CHAT)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"single_line": True}, "if a:"),
        ({"single_line": True, "continue_line_after": (":",)}, "if a:\n  b\nc"),
        ({"single_line": True, "continue_line_after": ("{",)}, "if a:"),
        ({"stop_text": ("b\nc",)}, "if a:\n  "),
        ({"stop_text": ("if",), "forced_prefix": "if"}, "if a:\n  b\nc"),
        ({"stop_ids": frozenset(ids("b"))}, "if a:\n  b\nc"),  # it reports no ids
    ],
)
async def test_the_client_ends_an_output_that_the_server_does_not_end(
    options: dict[str, Any], text: str, tmp_path: Path
) -> None:
    events = [text_event(piece) for piece in ("if", " a", ":\n  ", "b\n", "c")]
    answer = sse(*events, text_event("", "length"), "[DONE]")
    async with server(tmp_path, lambda _: answer) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        output = await collect(client, GenerationRequest(ids("x"), 99, **options))
        await client.aclose()
    assert output.text == text
    assert (output.finish is FinishReason.STOP) == (text != "if a:\n  b\nc")


def vllm_event(id_: int, value: float, top: dict[int, float]) -> dict[str, Any]:
    """An event of vLLM with one token."""
    alternatives = {f"token_id:{other}": each for other, each in top.items()}
    logprobs = {
        "tokens": [f"token_id:{id_}"],
        "token_logprobs": [value],
        "top_logprobs": [alternatives],
    }
    return {"choices": [{"index": 0, "text": "", "token_ids": [id_], "logprobs": logprobs}]}


@pytest.mark.parametrize(
    ("likely", "text", "prompts"),
    [
        # `abc` is one token, but `a` and then `b` are likelier.
        ({"x": {"abc": -5.0, "a": -1.0}, "xa": {"b": -0.5}}, "ab", ["x", "xa", "xab"]),
        # `a` is likely, but not followed by `b`.
        ({"x": {"abc": -1.0, "a": -0.9}, "xa": {"b": -3.0}}, "abc", ["x", "xa", "xabc"]),
        # `a` is not reported, so it is at most as likely as `abc`; nothing after it is likelier.
        ({"x": {"abc": -1.0}, "xa": {"b": -0.2}}, "abc", ["x", "xabc"]),
    ],
)
async def test_the_likeliest_tokens_that_cover_the_forced_prefix_are_used(
    likely: dict[str, dict[str, float]], text: str, prompts: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "tokenizer.json"
    content = json.loads(TOKENIZER.to_json())
    content["model"]["vocab"]["abc"] = one_token = len(content["model"]["vocab"])
    file.write_text(json.dumps(content), encoding="utf-8")
    tokenizer = Tokenizer.from_file(file)
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> Response:
        bodies.append(body)
        top = {
            one_token if token == "abc" else ids(token)[0]: value
            for token, value in likely.get(tokenizer.decode(body["prompt"]), {"!": -0.1}).items()
        }
        allowed = [id_ for id_ in top if id_ in body.get("allowed_token_ids", top)]
        best = max(allowed, key=lambda id_: top[id_])
        return sse(vllm_event(best, top[best], top), text_event("", "stop"), "[DONE]")

    entry = {"owned_by": "vllm", "max_model_len": 700}
    async with server(tmp_path, answer, entry) as endpoint:
        file.write_text(json.dumps(content), encoding="utf-8")
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        request = GenerationRequest(
            ids("x"),
            9,
            stop_ids=frozenset(ids("?")),
            stop_text=("z",),
            forced_prefix="ab",
            sampling=Sampling(temperature=0.7),
        )
        output = await collect(client, request)
        await client.aclose()
    assert output.text == text + "!"
    assert [tokenizer.decode(body["prompt"]) for body in bodies] == prompts
    *restricted, last = bodies
    for body in restricted:  # the likeliest token, whatever the request asks of the output
        assert (body["temperature"], body["max_tokens"]) == (0.0, 1)
        assert not body["stop_token_ids"]
        assert "stop" not in body
    assert last["temperature"] == 0.7
    assert last["max_tokens"] == 9 - len(last["prompt"]) + 1


async def test_the_connection_is_closed_when_the_client_ends_an_output(tmp_path: Path) -> None:
    is_closed = asyncio.Event()

    async def events() -> AsyncIterator[str]:
        try:
            for number in itertools.count():
                yield f"data: {json.dumps(text_event(f'{number}' + chr(10)))}\n\n"
                await asyncio.sleep(0.01)
        finally:
            is_closed.set()

    def answer(_: dict[str, Any]) -> Response:
        return StreamingResponse(events(), media_type="text/event-stream")

    async with server(tmp_path, answer) as endpoint:
        client = HttpEngine(endpoint, RemoteModel(tokenizer=tmp_path))
        async with asyncio.timeout(10):
            output = await collect(client, GenerationRequest(ids("x"), 9, single_line=True))
            await is_closed.wait()
        await client.aclose()
    assert output.text == "0"

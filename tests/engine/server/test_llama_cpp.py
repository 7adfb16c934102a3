"""llama.cpp's own API: `/infill`, `/completion` and `/props`."""

import json
from typing import Any

import httpx2
import openai
import pytest

from engine.api import Priority, Sampling
from engine.scripted import ScriptedEngine
from engine.server.access import Activity
from engine.server.apis.llama_cpp_answers import select_fields
from engine.server.fields import IGNORED_HEADER
from tests.engine.server.serving import OUTPUT, connected_client, ids, post

INFILL: dict[str, Any] = {"input_prefix": "a\n", "input_suffix": "c", "prompt": "b"}
IN_ORDER = [1, 3, *ids("c"), 2, *ids("a\nb")]


def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.text.split("\n\n")
    assert lines.pop() == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines]


class TestInfill:
    async def test_the_answer_has_llama_cpps_shape(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        answer = (await post(client, "../infill", {**INFILL, "return_tokens": True})).json()
        assert answer["content"] == OUTPUT
        assert answer["tokens"] == ids(OUTPUT)
        assert (answer["stop"], answer["stop_type"], answer["truncated"]) == (True, "eos", False)
        assert answer["tokens_evaluated"] == len(IN_ORDER)
        assert answer["tokens_predicted"] == len(OUTPUT)
        assert answer["tokens_cached"] == len(IN_ORDER) + len(OUTPUT)
        assert answer["has_new_line"] is True
        assert answer["model"] == "scripted"
        assert answer["prompt"] == "<fim_prefix><fim_suffix>c<fim_middle>a\nb"
        assert answer["timings"]["prompt_n"] == len(IN_ORDER)
        assert answer["timings"]["predicted_n"] == len(OUTPUT)
        assert list(engine.requests[0].prompt) == IN_ORDER
        assert engine.requests[0].priority is Priority.COMPLETION

    async def test_the_output_is_greedy_unless_a_temperature_is_set(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        await post(client, "../infill", {**INFILL, "top_k": 30, "top_p": 0.5, "seed": 7})
        await post(client, "../infill", {**INFILL, "temperature": 0.4, "seed": 4294967295})
        await post(client, "../infill", {**INFILL, "temperature": -1, "top_k": -1})
        assert [request.sampling for request in engine.requests] == [
            Sampling(0.0, 0.5, 30, 1.0, 7),
            Sampling(0.4, 0.95, 40, 1.0, None),
            Sampling(0.0, 0.95, 0, 1.0, None),
        ]

    async def test_a_stream_ends_with_the_whole_answer_but_its_text(
        self, client: openai.AsyncOpenAI
    ) -> None:
        *pieces, last = events(await post(client, "../infill", {**INFILL, "stream": True}))
        assert "".join(piece["content"] for piece in pieces) == OUTPUT
        assert [id_ for piece in pieces for id_ in piece["tokens"]] == ids(OUTPUT)
        assert not any(piece["stop"] for piece in pieces)
        assert pieces[-1]["tokens_predicted"] == len(OUTPUT)
        assert (last["content"], last["stop"], last["has_new_line"]) == ("", True, True)
        assert last["timings"]["predicted_n"] == len(OUTPUT)

    @pytest.mark.parametrize("stream", [False, True])
    async def test_zero_new_tokens_only_reads_the_prompt(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine, stream: bool
    ) -> None:
        body = {"input_prefix": "", "input_suffix": "", "n_predict": 0, "stream": stream}
        answer = await post(client, "../infill", body)
        (final,) = events(answer) if stream else [answer.json()]
        assert (final["content"], final["tokens_predicted"], final["stop"]) == ("", 0, True)
        (request,) = engine.requests
        assert request.priority is Priority.PREFETCH
        assert request.max_new_tokens == 1

    async def test_other_files_come_first(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        extra = [{"filename": "a.py", "text": "x", "time": [1, 2]}, {"text": "y", "filename": None}]
        await post(client, "../infill", {**INFILL, "input_extra": extra})
        header = [5, *ids("a.py\nx\n"), 5, *ids("filename\ny\n"), 5, *ids("filename\n")]
        assert list(engine.requests[0].prompt) == [*header, *IN_ORDER]

    async def test_limits_of_length_stop_text_and_indentation(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine
    ) -> None:
        for fields, content, stop_type in (
            ({"n_predict": 3}, "ret", "limit"),
            ({"max_tokens": 3}, "ret", "limit"),
            ({"stop": ["\n", ""]}, "return a + b", "eos"),
            ({"stop": "a"}, "return ", "eos"),
            ({"n_indent": 4}, "return a + b", "limit"),
            ({"n_indent": 0, "n_predict": -1}, OUTPUT, "eos"),
        ):
            answer = (await post(client, "../infill", {**INFILL, **fields})).json()
            assert (answer["content"], answer["stop_type"]) == (content, stop_type), fields
        assert engine.requests[-1].max_new_tokens == engine.context_window

    async def test_a_time_limit_ends_the_output_after_a_line(self) -> None:
        engine = ScriptedEngine(lambda _: "a\n" * 300, seconds_per_token=0.005)
        async with connected_client(engine) as client:
            body = {**INFILL, "t_max_predict_ms": 50}
            answer = (await post(client, "../infill", body)).json()
        assert answer["content"].endswith("a\n")
        assert 2 <= len(answer["content"]) < 200
        assert answer["stop_type"] == "limit"
        assert engine.stopped_early == 1

    async def test_an_output_that_fills_the_window_is_truncated(self) -> None:
        engine = ScriptedEngine(lambda _: "x" * 99, context_window=40)
        async with connected_client(engine) as client:
            answer = (await post(client, "../infill", INFILL)).json()
            short = (await post(client, "../infill", {**INFILL, "n_predict": 3})).json()
        assert (answer["truncated"], short["truncated"]) == (True, False)

    async def test_response_fields_select(self, client: openai.AsyncOpenAI) -> None:
        fields = ["content", "timings/predicted_n", "truncated", "nothing", "timings/nothing"]
        answer = await post(client, "../infill", {**INFILL, "response_fields": fields})
        assert answer.json() == {
            "content": OUTPUT,
            "timings/predicted_n": len(OUTPUT),
            "truncated": False,
        }

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"input_prefix": None}, "'input_prefix'"),
            ({"input_suffix": 3}, "'input_suffix'"),
            ({"input_extra": "x"}, "'input_extra'"),
            ({"input_extra": [{"filename": "x"}]}, "input_extra.0"),
            ({"prompt": [1]}, "'prompt'"),
            ({"grammar": "root ::= x"}, "'grammar' is not supported"),
            ({"json_schema": {"type": "object"}}, "'json_schema' is not supported"),
            ({"logit_bias": [[1, 1.0]]}, "'logit_bias' is not supported"),
            ({"n_probs": 5}, "/v1/completions"),
            ({"n_cmpl": 2}, "'n_cmpl' is not supported"),
            ({"n": 2}, "'n' is not supported"),
            ({"ignore_eos": True}, "'ignore_eos' is not supported"),
            ({"suffix": "x"}, "input_suffix to /infill"),
            ({"temperature": 11}, "'temperature'"),
            ({"n_predict": -3}, "'n_predict'"),
        ],
    )
    async def test_refusals_have_llama_cpps_shape(
        self, client: openai.AsyncOpenAI, fields: dict[str, Any], message: str
    ) -> None:
        answer = await post(client, "../infill", {**INFILL, **fields})
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert set(error) == {"code", "message", "type"}
        assert (error["code"], error["type"]) == (400, "invalid_request_error")
        assert message in error["message"]

    async def test_ignored_fields_are_named(self, client: openai.AsyncOpenAI) -> None:
        fields = {"samplers": ["infill"], "id_slot": 3, "model": "anything", "mirostat": 2}
        answer = await post(client, "../infill", {**INFILL, **fields})
        assert answer.status_code == 200
        assert answer.headers[IGNORED_HEADER] == "mirostat"


class TestCompletion:
    @pytest.mark.parametrize("path", ["../completion", "../completions"])
    async def test_a_prompt_is_continued(
        self, client: openai.AsyncOpenAI, engine: ScriptedEngine, path: str
    ) -> None:
        answer = (await post(client, path, {"prompt": "x", "n_predict": 6})).json()
        assert (answer["content"], answer["prompt"]) == ("return", "x")
        await post(client, path, {"prompt": [4, 9], "n_predict": 6})
        first, second = engine.requests
        assert list(first.prompt) == ids("x")
        assert first.sampling == Sampling(0.8, 0.95, 40, 1.0, None)
        assert list(second.prompt) == [4, 9]

    async def test_a_prompt_beyond_the_window_is_refused(self) -> None:
        engine = ScriptedEngine(lambda _: OUTPUT, context_window=20)
        async with connected_client(engine) as client:
            answer = await post(client, "../completion", {"prompt": "x" * 50})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "prompt_too_long"


async def test_props_describe_the_model(client: openai.AsyncOpenAI) -> None:
    async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
        props = (await plain.get("../props")).json()
        health = (await plain.get("../health")).json()
    assert props["default_generation_settings"]["n_ctx"] == 100_000
    assert props["model_path"] == "scripted"
    assert (health["status"], health["state"]) == ("ok", "ready")


async def test_every_refusal_of_the_server_has_the_shape_of_the_api(
    engine: ScriptedEngine,
) -> None:
    async with connected_client(engine, token="secret") as client:
        infill = await post(client, "../infill", INFILL)
        generate = await post(client, "../api/generate", {})
        unknown = await post(client, "../api/unknown", {})
        completion = await post(client, "completions", {})
    assert {infill.status_code, generate.status_code, unknown.status_code} == {401}
    assert infill.json()["error"]["code"] == 401
    assert isinstance(generate.json()["error"], str)
    assert isinstance(unknown.json()["error"], str)
    assert infill.headers["www-authenticate"] == "Bearer"
    assert infill.headers["content-length"] == str(len(infill.content))
    assert completion.json()["error"]["code"] == "invalid_api_key"


async def test_other_errors_of_http_have_the_shape_of_the_api(client: openai.AsyncOpenAI) -> None:
    async with httpx2.AsyncClient(base_url=str(client.base_url)) as plain:
        wrong_method = await plain.get("../infill")
        wrong_type = await plain.post("../api/generate", content=b"{}")
        unknown = await plain.get("../api/blobs")
    assert (wrong_method.status_code, wrong_method.json()["error"]["code"]) == (405, 405)
    assert wrong_method.headers["allow"] == "POST"
    assert (wrong_type.status_code, type(wrong_type.json()["error"])) == (415, str)
    assert (unknown.status_code, type(unknown.json()["error"])) == (404, str)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("infill", INFILL),
        ("completion", {"prompt": "x"}),
        ("completions", {"prompt": "x"}),
        ("api/generate", {"prompt": "x"}),
        ("api/chat", {"messages": [{"role": "user", "content": "x"}]}),
    ],
)
async def test_a_request_for_an_output_keeps_the_engine_awake(
    engine: ScriptedEngine, path: str, body: dict[str, Any]
) -> None:
    activity = Activity()
    activity._last_end -= 1000
    async with connected_client(engine, activity=activity) as client:
        await post(client, "../api/show", {})
        assert activity.idle_seconds >= 1000
        assert (await post(client, f"../{path}", body)).status_code == 200
        assert activity.idle_seconds < 100


def test_a_selected_field_of_no_object_is_absent() -> None:
    assert select_fields({"a": 1, "b": {"c": None}}, ["a/b", "b/c", "", "a"]) == {"a": 1}

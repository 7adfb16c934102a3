"""Fields of OpenAI's API, vLLM and llama.cpp that the engine does not implement."""

import re
from pathlib import Path
from typing import Any

import openai
import pytest

from engine.scripted import ScriptedEngine
from engine.server.fields import HARMLESS, IGNORED_HEADER, NEUTRAL, REFUSED
from tests.engine.server.serving import connected_client, post

DOCS = Path(__file__).parents[3] / "docs" / "engine.md"
COMPLETION = {"prompt": "x"}
CHAT = {"messages": [{"role": "user", "content": "x"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("best_of", 3),
        ("use_beam_search", True),
        ("suffix", "return x"),
        ("tools", [TOOL]),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("structured_outputs", {"json": {}}),
        ("guided_json", {}),
        ("guided_regex", "a+"),
        ("guided_choice", ["a"]),
        ("guided_grammar", "root ::= x"),
        ("grammar", "root ::= x"),
        ("json_schema", {"type": "object"}),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
    ],
)
async def test_a_field_that_would_change_the_answers_form_is_refused(
    client: openai.AsyncOpenAI, field: str, value: Any, stream: bool
) -> None:
    both = (("completions", COMPLETION), ("chat/completions", CHAT))
    for path, body in both[field == "suffix" :]:  # completions have a suffix
        answer = await post(client, path, {**body, field: value, "stream": stream})
        assert answer.status_code == 400, field
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert error["message"].startswith(f"The field '{field}' is not supported. ")


def test_every_refused_field_is_tested_above() -> None:
    mark = test_a_field_that_would_change_the_answers_form_is_refused.pytestmark[0]
    assert {field for field, _ in mark.args[1]} == set(REFUSED)


@pytest.mark.parametrize(
    "fields",
    [
        {name: value for name, field in REFUSED.items() for value in field.neutral},
        dict.fromkeys((*REFUSED, *HARMLESS, *NEUTRAL, "unknown_name")),
        dict.fromkeys(HARMLESS, "a value"),
        {"presence_penalty": 0.0, "frequency_penalty": 0, "min_p": 0.0},
        {"stream_options": {"include_usage": False, "include_obfuscation": False}},
    ],
    ids=["neutral", "null", "harmless", "zero", "stream options"],
)
async def test_fields_without_an_effect_are_accepted_silently(
    client: openai.AsyncOpenAI, fields: dict[str, Any]
) -> None:
    for path, body in (("completions", COMPLETION), ("chat/completions", CHAT)):
        answer = await post(client, path, {**body, **fields})
        assert answer.status_code == 200, answer.text
        assert IGNORED_HEADER not in answer.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_ignored_fields_are_named_in_a_header(
    client: openai.AsyncOpenAI, stream: bool
) -> None:
    fields = {"max_token": 5, "presence_penalty": 0.5, "typical_p": 0.9, "user": "me"}
    for path, body in (("completions", COMPLETION), ("chat/completions", CHAT)):
        answer = await post(client, path, {**body, **fields, "stream": stream})
        assert answer.status_code == 200
        assert answer.headers[IGNORED_HEADER] == "max_token, presence_penalty, typical_p"


async def test_names_that_no_header_can_contain_do_no_harm(client: openai.AsyncOpenAI) -> None:
    names = ["a\r\nSet-Cookie: x", "ü", "", "x" * 65, *(f"n{i}" for i in range(40))]
    answer = await post(client, "completions", {**COMPLETION, **dict.fromkeys(names, 1)})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    shown = answer.headers[IGNORED_HEADER].split(", ")
    assert shown == ["?"] * 4 + [f"n{i}" for i in range(16)] + ["..."]


async def test_openais_client_sends_the_fields_of_common_editors(engine: ScriptedEngine) -> None:
    async with connected_client(engine) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="any",
            messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}],
            user="me",
            store=False,
            metadata={"a": "b"},
            n=1,
            frequency_penalty=0,
            logit_bias={},
            tool_choice="auto",
            tools=[],
            response_format={"type": "text"},
            parallel_tool_calls=True,
        )
    assert raw.parse().choices[0].message.content
    assert IGNORED_HEADER not in raw.headers


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "text"},
    ],
)
async def test_parts_of_a_message_without_text_are_refused(
    client: openai.AsyncOpenAI, part: dict[str, Any]
) -> None:
    content = [{"type": "text", "text": "What is this?"}, part]
    body = {"messages": [{"role": "user", "content": content}]}
    answer = await post(client, "chat/completions", body)
    assert answer.status_code == 400
    assert "messages.0.content.1." in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("completions", {"prompt": 5}, "'prompt'"),
        ("completions", {}, "'prompt' cannot be used: it is missing."),
        ("completions", [1], "is not a JSON object"),
        ("completions", {"prompt": "x", "temperature": 99}, "the largest value is 10"),
        ("completions", {"prompt": "x", "max_tokens": 1.5}, "give a whole number"),
        ("completions", {"prompt": "x", "stream": "maybe"}, "give true or false"),
        ("completions", {"prompt": "x", "n": 2}, "'n' cannot be used: the largest value is 1"),
        ("chat/completions", {"messages": "x"}, "'messages' cannot be used: give a list"),
        ("chat/completions", {"messages": [5]}, "'messages.0' cannot be used: give an object"),
        ("chat/completions", {"messages": [{"role": "user"}]}, "messages.0.content"),
    ],
)
async def test_refusals_use_no_words_of_python(
    client: openai.AsyncOpenAI, path: str, body: Any, message: str
) -> None:
    answer = await post(client, path, body)
    text = answer.json()["error"]["message"]
    assert message in text
    assert not re.search(r"Input should|pydantic|constrained|dict|\bstr\b|\bint\b|list\[", text)


def test_the_documentation_lists_the_fields() -> None:
    _, table = DOCS.read_text(encoding="utf-8").split("**Fields that are not implemented.**")
    listed: dict[str, set[str]] = {"refused": set(), "accepted": set(), "zero": set()}
    for line in table.split("A field with the value null")[0].splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 4 and "`" in cells[1]:
            first = "zero" if cells[2].startswith("accepted if 0") else re.split(r"\W", cells[2])[0]
            listed[first] |= set(re.findall(r"`(\w+)`", cells[1]))
    assert listed == {
        "refused": set(REFUSED),
        "accepted": set(HARMLESS),
        "zero": set(NEUTRAL),
    }
    assert f"`{IGNORED_HEADER}`" in table

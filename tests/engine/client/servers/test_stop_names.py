"""Ends of outputs whose server reports text only: the names of stop tokens, in any pieces."""

from pathlib import Path
from typing import Any

import pytest

from chat.asker import Asker
from chat.formats import CHATML_TEMPLATE, CHATML_TOKENS
from engine.api import Chunk, FinishReason, GenerationRequest, Message
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.scripted import byte_tokenizer
from tests.engine.client.servers.recording import collect
from tests.engine.client.servers.test_other_servers import server, sse, text_event
from tests.remote_server import Server, running

END = "<|end|>"
TOKENIZER = byte_tokenizer(("<|endoftext|>", *CHATML_TOKENS, "[/END]"))
STOP_IDS = frozenset(TOKENIZER.special_tokens[name] for name in (END, "[/END]"))


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text))


async def output_of(
    folder: Path, pieces: list[str | dict[str, Any]], finish: str = "length", **options: Any
) -> Chunk:
    """The output of a server that streams these pieces, each a text or a whole event."""
    events = [text_event(piece) if isinstance(piece, str) else piece for piece in pieces]
    answer = sse(*events, text_event("", finish), "[DONE]")
    async with server(folder, lambda _: answer) as endpoint:
        (folder / "tokenizer.json").write_text(TOKENIZER.to_json(), encoding="utf-8")
        client = HttpEngine(endpoint, RemoteModel(tokenizer=folder))
        request = GenerationRequest(ids("x"), 99, **{"stop_ids": STOP_IDS, **options})
        output = await collect(client, request)
        await client.aclose()
    return output


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a = 1", END, "\n", "more"], "a = 1"),
        (["a = 1<", "|en", "d|", ">more"], "a = 1"),
        (list(f"a < b{END}more"), "a < b"),
        (["a", f"{END}{END}"], "a"),
        ([END], ""),
        (["a[/E", "ND]more"], "a"),
        (["a<|endoftext|>more"], "a"),
        (["a<|end", "<|end|>more"], "a<|end"),
        (["a <|en"], "a <|en"),  # the server ends in the middle of a name
        (["a <|user|> b"], "a <|user|> b"),  # not a stop token of this request
    ],
    ids=str,
)
async def test_the_name_of_a_stop_token_ends_the_output(
    pieces: list[str | dict[str, Any]], text: str, tmp_path: Path
) -> None:
    output = await output_of(tmp_path, pieces)
    assert output.text == text
    is_stopped = text not in ("a <|en", "a <|user|> b")
    assert output.finish is (FinishReason.STOP if is_stopped else FinishReason.LENGTH)


async def test_a_stop_text_before_the_name_counts(tmp_path: Path) -> None:
    pieces: list[str | dict[str, Any]] = ["a\n", "Hum", "an: b", END]
    output = await output_of(tmp_path, pieces, stop_text=("\nHuman:",))
    assert output.text == "a"
    pieces = ["a\n", "Hum", END, "an:"]  # the beginning of a stop text is part of the output
    output = await output_of(tmp_path, pieces, stop_text=("\nHuman:",))
    assert output.text == "a\nHum"


async def test_a_forced_prefix_may_contain_the_name(tmp_path: Path) -> None:
    pieces: list[str | dict[str, Any]] = [f"s = '{END}'", "\n", END, "more"]
    output = await output_of(tmp_path, pieces, forced_prefix=f"s = '{END}")
    assert output.text == f"s = '{END}'\n"


def scored(text: str) -> dict[str, Any]:
    """An event whose tokens have ids: each byte is one token."""
    logprobs = {"tokens": list(text), "token_logprobs": [-0.5] * len(text)}
    return text_event(text, logprobs=logprobs)


async def test_a_name_that_the_model_writes_as_text_goes_on_if_ids_are_known(
    tmp_path: Path,
) -> None:
    written = f"s = '{END}'"
    output = await output_of(tmp_path, [scored(written), scored("\n")], logprobs=0)
    assert output.text == f"{written}\n"
    assert len(output.logprobs) == len(written) + 1
    # A stop token itself is no ordinary token, so its id is not known.
    output = await output_of(tmp_path, [scored(written), END, scored("more")], logprobs=0)
    assert (output.text, output.finish) == (written, FinishReason.STOP)
    # A name that is half without ids is none.
    output = await output_of(tmp_path, ["a<|", scored("end|>"), "b"], logprobs=0)
    assert output.text == f"a{END}b"


@pytest.mark.parametrize("template", ["", CHATML_TEMPLATE.replace(END, "[/END]")])
async def test_an_answer_of_a_chat_ends_before_the_marker(template: str, tmp_path: Path) -> None:
    marker = "[/END]" if template else END
    (tmp_path / "tokenizer.json").write_text(
        byte_tokenizer((marker,) if template else CHATML_TOKENS).to_json(), encoding="utf-8"
    )
    if template:
        (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    async with running() as remote:
        remote.text = f"\nSort the list: `a < b`.{marker}\n<|user|>\nThank you."
        answer = await _answer_of(remote, tmp_path)
    assert answer == "Sort the list: `a < b`."


async def _answer_of(remote: Server, folder: Path) -> str:
    client = HttpEngine(remote.endpoint, RemoteModel(tokenizer=folder))
    asker = Asker(client)
    prepared = await asker.prepare([Message("user", "How?")])
    text = "".join([chunk.text async for chunk in asker.stream(prepared)])
    await client.aclose()
    return text

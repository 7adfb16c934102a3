"""Ollama's `/api/generate` and `/api/chat`, as completion plugins use them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.api import (
    Chunk,
    FimText,
    FinishReason,
    GenerationRequest,
    Message,
    Priority,
    ScoringEngine,
    Usage,
)
from engine.errors import RequestError
from engine.server.apis.ollama_types import (
    Duration,
    GenerateBody,
    OllamaBody,
    OllamaChatBody,
    OllamaErrorBody,
    Options,
)
from engine.server.bodies import parse_body
from engine.server.fields import RefusedField, check_fields, report_ignored
from engine.server.fim import rendered_fim
from engine.server.model_names import adapter_of
from engine.server.prompts import (
    EncodedPrompt,
    RenderChat,
    check_text_fits,
    encode_prompt,
    is_template,
    render_messages,
)
from engine.server.responses import (
    Framing,
    cancel_on_disconnect,
    collect,
    event_stream,
    json_response,
    model_info,
)

_REFUSED: Mapping[str, RefusedField] = {
    "format": RefusedField(
        ("",), "The engine does not constrain the output; ask for the format in the prompt."
    ),
    "images": RefusedField(([],), "The engine reads text only."),
    "template": RefusedField(
        ("", "{{ .Prompt }}", "{{.Prompt}}"), "Write the whole prompt, and set raw to true."
    ),
    "tools": RefusedField(([],), "The engine calls no tools; describe them in a message."),
    "think": RefusedField((False,), "The model answers without thinking."),
    "logprobs": RefusedField((False,), "Request log-probabilities from /v1/completions."),
}
_HARMLESS = frozenset({"keep_alive"})
_HARMLESS_OPTIONS = frozenset(
    {"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "low_vram"}
    | {"use_mmap", "use_mlock", "numa", "vocab_only", "f16_kv", "num_gqa"}
)
"""Options that concern memory and speed, which the server decides."""


def error_body(message: str) -> OllamaErrorBody:
    """Return Ollama's error object."""
    return {"error": message}


def _line(payload: Mapping[str, object]) -> str:
    return json.dumps(payload) + "\n"


_LINES = Framing("application/x-ndjson", _line, "", lambda error: error_body(error.user_message))


async def generate(request: Request) -> Response:
    """Continue a prompt, or fill in between prompt and suffix."""
    body = await parse_body(request, GenerateBody)
    ignored = _ignored_fields(body)
    if not body.prompt and not body.suffix:
        return await _loaded(request, body, {"response": ""})
    prepared = await cancel_on_disconnect(request, _prepare_generate(request, body))
    return report_ignored(await _respond(request, body, prepared), ignored)


async def chat(request: Request) -> Response:
    """Answer a conversation."""
    body = await parse_body(request, OllamaChatBody)
    ignored = _ignored_fields(body)
    for message in body.messages:
        ignored += check_fields(message.other_fields, _REFUSED)
    if not body.messages:
        return await _loaded(request, body, {"message": {"role": "assistant", "content": ""}})
    messages = [Message(message.role, message.content) for message in body.messages]
    prepared = await cancel_on_disconnect(request, _prepare_chat(request, body, messages))
    return report_ignored(await _respond(request, body, prepared), ignored)


def _ignored_fields(body: OllamaBody) -> list[str]:
    options = check_fields(body.options.other_fields, {}, _HARMLESS_OPTIONS)
    return [
        *check_fields(body.other_fields, _REFUSED, _HARMLESS),
        *(f"options.{name}" for name in options),
    ]


async def _loaded(request: Request, body: OllamaBody, content: dict[str, object]) -> Response:
    """Answer a request that only asks for the model to be loaded."""
    info = await model_info(request)
    adapter_of(request, info, body.model)
    start = {"model": body.model or info.model, "created_at": _now()}
    return JSONResponse({**start, **content, "done": True, "done_reason": "load"})


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request whose prompt is encoded."""

    chunks: AsyncGenerator[Chunk, None]
    model: str
    is_chat: bool
    started: float

    def piece(self, text: str) -> dict[str, object]:
        """Return the object for a piece of the output."""
        content: dict[str, object] = {"response": text}
        if self.is_chat:
            content = {"message": {"role": "assistant", "content": text}}
        return {"model": self.model, "created_at": _now(), **content, "done": False}

    def final(self, text: str, finish: str, usage: Usage) -> dict[str, object]:
        """Return the last object of the output."""
        reason = "length" if finish == FinishReason.LENGTH else "stop"
        duration = _duration(usage, time.monotonic() - self.started)
        return {**self.piece(text), "done": True, "done_reason": reason, **duration}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _duration(usage: Usage, seconds: float) -> Duration:
    return {
        "total_duration": int(seconds * 1e9),
        "load_duration": 0,
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": int(usage.prefill_ms * 1e6),
        "eval_count": usage.completion_tokens,
        "eval_duration": int(usage.decode_ms * 1e6),
    }


async def _prepare_generate(request: Request, body: GenerateBody) -> _Prepared:
    engine: ScoringEngine = request.app.state.engine
    info = await engine.info()
    adapter = adapter_of(request, info, body.model)
    tokenizer = await engine.tokenizer(adapter)
    if not body.suffix:
        check_text_fits(len(body.prompt), tokenizer, info.context_window)
    if body.suffix:
        max_new = _max_new_tokens(body.options, info.context_window)
        fim = await rendered_fim(request, tokenizer, FimText(body.prompt, body.suffix), max_new)
        prompt = EncodedPrompt(fim.ids, fim.stop_ids)
    elif info.chat_template and not body.raw and not is_template(body.prompt, tokenizer):
        system = [Message("system", body.system)] if body.system else []
        return await _prepare_chat(request, body, [*system, Message("user", body.prompt)])
    else:
        prompt = await encode_prompt(body.prompt, tokenizer, info.context_window)
    return await _start(request, body, prompt, Priority.COMPLETION)


async def _prepare_chat(request: Request, body: OllamaBody, messages: list[Message]) -> _Prepared:
    render: RenderChat | None = request.app.state.render_chat
    if render is None:
        raise RequestError("This engine was started without a chat renderer (--chat-renderer).")
    engine: ScoringEngine = request.app.state.engine
    info = await engine.info()
    tokenizer = await engine.tokenizer(adapter_of(request, info, body.model))
    rendered = await render_messages(render, messages, tokenizer, info)
    prompt = EncodedPrompt(rendered.ids, rendered.stop_ids)
    return await _start(request, body, prompt, Priority.CHAT, rendered.stop_text)


async def _start(
    request: Request,
    body: OllamaBody,
    prompt: EncodedPrompt,
    priority: Priority,
    stop_text: tuple[str, ...] = (),
) -> _Prepared:
    engine: ScoringEngine = request.app.state.engine
    info = await engine.info()
    generation = GenerationRequest(
        prompt=prompt.ids,
        max_new_tokens=_max_new_tokens(body.options, info.context_window),
        stop_ids=prompt.stop_ids,
        stop_text=(*stop_text, *body.options.stops),
        sampling=body.options.sampling,
        priority=priority,
        adapter=adapter_of(request, info, body.model),
    )
    is_chat = isinstance(body, OllamaChatBody)
    model = body.model or info.model
    return _Prepared(engine.stream(generation), model, is_chat, time.monotonic())


def _max_new_tokens(options: Options, context_window: int) -> int:
    return context_window if options.num_predict < 0 else max(1, options.num_predict)


async def _respond(request: Request, body: OllamaBody, prepared: _Prepared) -> Response:
    if body.stream:
        return await _stream(request, prepared)
    output = await cancel_on_disconnect(request, collect(prepared.chunks))
    # The model generates the newline that the format of a chat puts after the role.
    text = output.text.lstrip() if prepared.is_chat else output.text
    return await json_response(prepared.final(text, output.finish, output.usage))


async def _stream(request: Request, prepared: _Prepared) -> Response:
    has_text = not prepared.is_chat

    async def events(chunk: Chunk) -> AsyncIterator[Mapping[str, object]]:
        nonlocal has_text
        text = chunk.text if has_text else chunk.text.lstrip()
        has_text = has_text or bool(text)
        if text:
            yield prepared.piece(text)
        if chunk.finish is not None and chunk.usage is not None:
            yield prepared.final("", chunk.finish, chunk.usage)

    return await event_stream(request, prepared.chunks, events, _LINES)

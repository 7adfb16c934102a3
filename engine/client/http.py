"""An engine behind HTTP: ours, or another that speaks OpenAI's API with vLLM's extensions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
from httpx2 import EventSource

from engine.api import (
    Chunk,
    EngineInfo,
    EngineState,
    FinishReason,
    GenerationRequest,
    Health,
    TokenLogprob,
    Usage,
)
from engine.client.endpoint import Endpoint
from engine.errors import (
    ConfigurationError,
    EngineLostError,
    EngineUnavailableError,
    ModelError,
    StarcoderError,
    error_from_wire,
)
from engine.tokenizer import Tokenizer

_CONNECT_SECONDS = 5.0
_HEALTH_SECONDS = 5.0


class HttpEngine:
    """Implements `engine.api.Engine` over HTTP.

    `tokenizer_path` names the tokenizer of a server that does not give out its own (vLLM, TGI,
    llama.cpp): a `tokenizer.json` or the directory that holds it.
    """

    def __init__(self, endpoint: Endpoint, tokenizer_path: Path | None = None) -> None:
        self._endpoint = endpoint
        self._tokenizer_path = tokenizer_path
        self._tokenizers: dict[str | None, Tokenizer] = {}
        self._info: EngineInfo | None = None
        self._foreign = False
        """Whether the server is another than ours, and knows OpenAI's fields and vLLM's alone."""
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        self._http = httpx2.AsyncClient(
            base_url=endpoint.url.rstrip("/").removesuffix("/v1"),
            headers=headers,
            transport=_transport(endpoint),
            # Loading may take minutes; who waits decides for how long.
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        )

    async def health(self) -> Health:
        """See `Engine.health`. A server without `/health` in our form is ready when it answers."""
        try:
            answer = await self._http.get("/health", timeout=_HEALTH_SECONDS)
            if answer.status_code >= 400:
                return Health(EngineState.FAILED, _message(answer.content, answer.status_code))
            body = answer.json() if answer.content else {}
        except httpx2.HTTPError as error:
            return Health(EngineState.FAILED, self._unreachable(error).user_message)
        except ValueError:
            body = {}
        if not isinstance(body, dict) or body.get("state") not in set(EngineState):
            return Health(EngineState.READY)
        return Health(
            EngineState(body["state"]),
            body.get("detail", ""),
            body.get("progress"),
            body.get("pid"),
        )

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        if self._info is None:
            body = await self._get_json("/v1/models")
            try:
                entry = body["data"][0]
                self._info = _info(entry)
                self._foreign = not isinstance(entry.get("starcoder"), dict)
            except (KeyError, IndexError, TypeError) as error:
                raise EngineUnavailableError(
                    f"{self._endpoint.url} does not list a model as OpenAI's API does."
                ) from error
        return self._info

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`; raises ConfigurationError where none is to be had."""
        if adapter not in self._tokenizers:
            self._tokenizers[adapter] = await self._load_tokenizer(adapter)
        return self._tokenizers[adapter]

    async def _load_tokenizer(self, adapter: str | None) -> Tokenizer:
        if self._tokenizer_path is not None:
            return await asyncio.to_thread(Tokenizer.from_file, self._tokenizer_path)
        asked = {} if adapter is None else {"adapter": adapter}
        async with self._errors():
            answer = await self._http.get("/tokenizer.json", params=asked)
        if answer.status_code == 404:
            raise ConfigurationError(
                f"The server at {self._endpoint.url} does not give out its tokenizer. Set "
                "starcoder.tokenizer to the directory that holds the model's tokenizer.json."
            )
        _raise_for(answer.status_code, answer.content)
        return await asyncio.to_thread(Tokenizer.from_json, answer.text, self._endpoint.url)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`. Closing it closes the connection, which stops the decoding."""
        last: Chunk | None = None
        request, to_say = await self._for_server(request)
        async with (
            self._errors(),
            self._http.stream("POST", "/v1/completions", json=await self._body(request)) as answer,
        ):
            if answer.status_code >= 400:
                _raise_for(answer.status_code, await answer.aread())
            async for event in EventSource(answer):
                if event.data == "[DONE]":
                    break
                payload = json.loads(event.data)
                if "error" in payload:
                    raise _error(payload["error"], answer.status_code)
                for choice in payload.get("choices") or ():
                    chunk = _chunk(choice, to_say)
                    to_say = ""
                    if chunk.finish is None:
                        yield chunk
                    else:
                        last = chunk  # held until its usage has come, in an event of its own
                if last is not None and payload.get("usage"):
                    last = _with_usage(last, payload["usage"])
        if last is None:
            raise EngineLostError("The engine broke off in the middle of its answer.")
        yield last

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _for_server(self, request: GenerationRequest) -> tuple[GenerationRequest, str]:
        """Return the request as the server understands it, and what we say before its answer."""
        await self.info()
        if not self._foreign or not request.forced_prefix:
            return request, ""
        begun = (await self.tokenizer(request.adapter)).encode(request.forced_prefix)
        left = max(1, request.max_new_tokens - len(begun))
        prompt = (*request.prompt, *begun)
        return replace(
            request, prompt=prompt, max_new_tokens=left, forced_prefix=""
        ), request.forced_prefix

    async def _body(self, request: GenerationRequest) -> dict[str, Any]:
        info = await self.info()
        sampling = request.sampling
        # To a server that knows no exceptions, a line without any ends by an ordinary stop.
        ends_with_line = self._foreign and request.single_line and not request.continue_line_after
        body: dict[str, Any] = {
            "model": request.adapter or info.model,
            "prompt": list(request.prompt),
            "max_tokens": request.max_new_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "stop_token_ids": sorted(request.stop_ids),
            "stop": [*request.stop_text, *(["\n"] if ends_with_line else [])],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "repetition_penalty": sampling.repetition_penalty,
            "priority": int(request.priority),
            "return_token_ids": True,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if request.logprobs is not None:
            body["logprobs"] = request.logprobs
        if request.adapter is not None:
            body["adapter"] = request.adapter
        if not self._foreign:
            body |= {
                "draft_tokens": list(request.draft_tokens),
                "forced_prefix": request.forced_prefix,
            }
            body["single_line"] = request.single_line
            body["continue_line_after"] = list(request.continue_line_after)
        return body

    async def _get_json(self, path: str) -> Any:
        async with self._errors():
            answer = await self._http.get(path)
        _raise_for(answer.status_code, answer.content)
        try:
            return answer.json()
        except ValueError:
            raise EngineUnavailableError(f"{self._endpoint.url}{path} is not JSON.") from None

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise self._unreachable(error) from error
        except httpx2.TransportError as error:
            raise EngineLostError(
                "The engine went away in the middle of a request. The next one starts it again."
            ) from error

    def _unreachable(self, error: Exception) -> EngineUnavailableError:
        return EngineUnavailableError(
            f"No engine answers at {self._endpoint.uds or self._endpoint.url} "
            f"({type(error).__name__})."
        )


def _transport(endpoint: Endpoint) -> httpx2.AsyncHTTPTransport:
    # Certificates take 20 ms to read and a local socket has none.
    local = endpoint.uds is not None or endpoint.url.startswith("http://")
    if endpoint.uds is None:
        return httpx2.AsyncHTTPTransport(verify=not local)
    # A new connection costs 0.1 ms here, and none that is kept can turn out to be a dead engine's.
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncHTTPTransport(uds=str(endpoint.uds), verify=False, limits=limits)


def _info(entry: dict[str, Any]) -> EngineInfo:
    """Read a model's entry; a foreign server tells less."""
    if isinstance(ours := entry.get("starcoder"), dict):
        known = {name: ours[name] for name in EngineInfo.__slots__ if name in ours}
        return EngineInfo(**{**known, "adapters": tuple(known.get("adapters", ()))})
    window = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx_train") or 2048
    return EngineInfo(
        model=entry["id"],
        model_type="",
        context_window=int(window),
        device="remote",
        dtype="",
        is_demo=False,
    )


def _chunk(choice: dict[str, Any], said: str) -> Chunk:
    ids = tuple(choice.get("token_ids") or ())
    scores: tuple[TokenLogprob, ...] = ()
    if logprobs := choice.get("logprobs"):
        tops = logprobs.get("starcoder_top") or [()] * len(ids)
        scores = tuple(
            TokenLogprob(id_, value, tuple((int(i), float(v)) for i, v in top or ()))
            for id_, value, top in zip(ids, logprobs["token_logprobs"], tops, strict=False)
        )
    reason = choice.get("finish_reason")
    finish = None if reason is None else FinishReason(reason if reason == "length" else "stop")
    ends = () if said else tuple(choice.get("starcoder_ends") or ())
    return Chunk(said + (choice.get("text") or ""), ids, scores, ends, finish)


def _with_usage(chunk: Chunk, usage: dict[str, Any]) -> Chunk:
    times = usage.get("starcoder") or {}
    details = usage.get("prompt_tokens_details") or {}
    told = Usage(
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
        details.get("cached_tokens") or 0,
        times.get("prefill_ms", 0.0),
        times.get("decode_ms", 0.0),
        times.get("drafted_tokens", 0),
        times.get("accepted_tokens", 0),
    )
    return replace(chunk, usage=told)


def _raise_for(status: int, content: bytes) -> None:
    if status < 400:
        return
    try:
        raise _error(json.loads(content)["error"], status)
    except (ValueError, KeyError, TypeError):
        raise EngineUnavailableError(_message(content, status)) from None


def _error(described: Any, status: int) -> StarcoderError:
    if isinstance(described, str):
        return EngineUnavailableError(f"{described} (HTTP {status})")
    if status == 401:
        return ConfigurationError(described["message"])
    error = error_from_wire(str(described.get("type")), described["message"])
    if status >= 500 and not isinstance(error, (ModelError, EngineUnavailableError)):
        return EngineUnavailableError(described["message"])
    return error


def _message(content: bytes, status: int) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"The engine's server answered with HTTP {status}."

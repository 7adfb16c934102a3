"""The checks of `starcoder-lsp doctor --engine-url`: what completions need from a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from engine.api import Chunk, Engine, EngineInfo, GenerationRequest
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.remote_health import ask_server
from engine.client.remote_model import RemoteModel
from engine.client.servers.base import DEFAULT_WINDOW
from engine.errors import EngineSilentError, EngineUnavailableError, StarcoderError
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer
from fim.completer import Completer
from fim.prompt.families import detect
from fim.snapshot import Snapshot, Trigger
from lsp_server.cli import common
from lsp_server.cli.engine_server import EngineServer, choose_engine
from lsp_server.session.engine_choice import create_engine, remote_model

_LIMIT_S = 30.0
"""Seconds after which a check has failed."""
_SMALL_WINDOW = 1024
"""Tokens below which prompts lose much of the file."""
_SAMPLE = "def first(items, default=None):\n    return items[0] if items else default\n"
_TEXTS = (_SAMPLE, "  ☃ 你好 = 'naïve'\n\tx\r\n", "<fim_suffix><|end|>")
"""Texts whose ids must mean the same text again: code, other alphabets, names of tokens."""
_PREFIX, _SUFFIX = "def add(first, second):\n    return ", "\n\n\nprint(add(1, 2))\n"
_HALF_WORD = "impo"
_LONG_OUTPUT = 256
"""Tokens of the output that is cancelled."""
_QUICK_S = 1.0
"""Seconds in which a server should notice that a request was cancelled."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    is_ok: bool
    detail: str
    """The state of the checked part; if it is not ok, also what to do."""


async def check_server(server: EngineServer) -> AsyncGenerator[Finding, None]:
    """Run the checks one after the other; the later ones only if the server has the model."""
    choice = choose_engine(EngineSettings(), server)
    model = remote_model(choice)
    client = HttpEngine(Endpoint(server.url, token=server.token), model)
    engine = create_engine(choice)
    try:
        for name, inspect in (
            ("address", partial(_reach, client, model, server.address)),
            ("model", partial(_describe, client)),
            ("tokenizer", partial(_check_tokenizer, engine)),
        ):
            finding = await _run(name, inspect)
            yield finding
            if not finding.is_ok:
                return
        for name, check in _CHECKS:
            yield await _run(name, partial(check, engine))
    finally:
        await engine.aclose()
        await client.aclose()


class _ShortfallError(StarcoderError):
    """What a server lacks, with advice."""


async def _run(name: str, inspect: Callable[[], Awaitable[str]]) -> Finding:
    try:
        async with asyncio.timeout(_LIMIT_S):
            return Finding(name, True, await inspect())
    except StarcoderError as error:
        return Finding(name, False, common.with_options(error.user_message))
    except TimeoutError:
        return Finding(
            name,
            False,
            f"The server did not answer within {_LIMIT_S:.0f} s. Look at its log; restart it if it "
            "hangs, or give it fewer requests.",
        )


async def _reach(client: HttpEngine, model: RemoteModel, address: str) -> str:
    started = time.perf_counter()
    answer = await ask_server(client.connection.client, address, model)
    if answer.entry is None:
        raise EngineUnavailableError(
            f"The server at {address} is not ready yet: "
            f"{answer.detail or 'it is starting'}. Try again when it has loaded its model."
        )
    milliseconds = (time.perf_counter() - started) * 1000
    return f"{address} answers in {milliseconds:.0f} ms"


async def _describe(client: HttpEngine) -> str:
    info = await client.info()
    return f"{info.model}, served by {client.server_name}"


async def _check_tokenizer(engine: Engine) -> str:
    """Check that the tokenizer is that of the model, which the client compares with the server."""
    await engine.info()
    tokenizer = await engine.tokenizer()
    wrong = [text for text in _TEXTS if tokenizer.decode(tokenizer.encode(text)) != text]
    if wrong:
        raise _ShortfallError(
            f"The tokenizer does not give {wrong[0]!r} back. Set --tokenizer to the original "
            "directory of the model."
        )
    note = detect(tokenizer).note
    return f"{tokenizer.vocab_size} tokens. {note}".removesuffix(". ")


async def _check_window(engine: Engine) -> str:
    info = await engine.info()
    if info.context_window < _SMALL_WINDOW:
        raise _ShortfallError(
            f"{info.context_window} tokens, which is little for completions. Start the server with "
            "a larger window (vLLM: --max-model-len; llama.cpp: -c, shared by its slots)."
        )
    advice = ""
    if info.device == "remote" and info.context_window == DEFAULT_WINDOW:
        advice = "; if the server does not report this number, set starcoder.contextWindow to it"
    return f"{info.context_window} tokens{advice}"


async def _generate(engine: Engine, request: GenerationRequest) -> list[Chunk]:
    async with aclosing(engine.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


async def _prompt(engine: Engine, text: str) -> tuple[int, ...]:
    tokenizer: Tokenizer = await engine.tokenizer()
    return tuple(tokenizer.encode_start(text))


async def _check_scores(engine: Engine) -> str:
    request = GenerationRequest(await _prompt(engine, _SAMPLE), 4, logprobs=2)
    chunks = await _generate(engine, request)
    scores = [score for chunk in chunks for score in chunk.logprobs]
    if not scores:
        raise _ShortfallError(
            "The server reports no log-probabilities, so suggestions of which the model is unsure "
            "are shown too, and there are no alternatives. If there is a proxy, such as "
            "LiteLLM, give the address of the server itself, or of its pass-through."
        )
    if not any(len(score.top) > 1 for score in scores):
        raise _ShortfallError(
            "The server reports no alternatives to a token, so the editor's command shows one "
            "suggestion only. vLLM reports them unless --max-logprobs is too small."
        )
    return f"{len(scores)} tokens with log-probabilities and alternatives"


async def _check_half_word(engine: Engine) -> str:
    request = GenerationRequest(await _prompt(engine, "\n"), 8, forced_prefix=_HALF_WORD)
    text = "".join(chunk.text for chunk in await _generate(engine, request))
    if not text.startswith(_HALF_WORD):
        raise _ShortfallError(
            f"The output after {_HALF_WORD!r} is {text[:20]!r}. Half-typed words are not completed "
            "by this server; update it."
        )
    return f"{_HALF_WORD!r} is continued as {text.splitlines()[0]!r}"


async def _check_completion(engine: Engine) -> str:
    started = time.perf_counter()
    snapshot = Snapshot("file:///check.py", "python", _PREFIX + _SUFFIX, len(_PREFIX))
    result = await Completer(engine).complete(snapshot, Trigger.INVOKED)
    if not result.suggestions:
        raise _ShortfallError(
            f"No suggestion: {result.explanation.rstrip('.')}. Check that --tokenizer belongs to "
            "the model, and that the model was trained on code."
        )
    milliseconds = (time.perf_counter() - started) * 1000
    return f"{result.suggestions[0].text!r} in {milliseconds:.0f} ms"


async def _check_cancelling(engine: Engine) -> str:
    """Close a long output after its beginning, and measure the next request."""
    prompt = await _prompt(engine, _SAMPLE)
    info: EngineInfo = await engine.info()
    length = max(1, min(_LONG_OUTPUT, info.context_window - len(prompt)))
    async with aclosing(engine.stream(GenerationRequest(prompt, length))) as chunks:
        async for _ in chunks:
            break
    started = time.perf_counter()
    await _generate(engine, GenerationRequest(prompt, 1))
    seconds = time.perf_counter() - started
    if seconds > _QUICK_S:
        raise EngineSilentError(
            f"After a cancelled request the next one took {seconds:.1f} s: the server may go on "
            "with what nobody reads. Use a server that stops when a connection is closed, and no "
            "proxy that keeps it open."
        )
    return f"after a cancelled request the next one takes {seconds * 1000:.0f} ms"


_CHECKS: tuple[tuple[str, Callable[[Engine], Awaitable[str]]], ...] = (
    ("window", _check_window),
    ("output", _check_scores),
    ("half word", _check_half_word),
    ("completion", _check_completion),
    ("cancelling", _check_cancelling),
)
"""The checks of a server that has the model."""

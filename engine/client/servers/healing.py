"""Requests to servers that are not ours, and outputs that start with a forced prefix.

Most servers can restrict an output to a list of tokens. Then the client asks for one token that
covers the prefix, and for the rest of the output without a restriction. This costs one more request
of one token. A regular expression or a grammar would need only one request, but it chooses the
likeliest token at each step, such as a single space, and not the likeliest beginning as a whole.

From other servers the client asks for the output without the prefix, which ends the prompt at a
safe place, and checks what comes. If that differs from the prefix, the client continues from the
likeliest alternative that agrees with it. If the server reports no alternatives, the prefix is
appended to the prompt: its tokenization is then unusual, so the output is worse.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from engine.api import (
    Chunk,
    FinishReason,
    GenerationRequest,
    Priority,
    Sampling,
    TokenLogprob,
    Usage,
)
from engine.client.servers.base import Event, Piece
from engine.client.servers.openai import token_id
from engine.client.servers.other_server import OtherServer
from engine.client.servers.output import Output, PrefixError
from engine.errors import EngineLostError, EngineUnavailableError, RequestError
from engine.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

_MAX_CORRECTIONS = 8
"""Maximum number of tokens that the client chooses itself for one output."""

Events = Callable[[str, dict[str, Any]], AsyncGenerator[Any, None]]
"""Sends a body to a path, and yields the JSON of each event; None for `[DONE]`."""


class _IgnoredError(Exception):
    """The server has chosen a token that was not allowed. Never shown to the user."""


async def stream_output(
    other: OtherServer, request: GenerationRequest, model: str, tokenizer: Tokenizer, events: Events
) -> AsyncGenerator[Chunk, None]:
    """Yield the output of a request in chunks, as `Engine.stream` does."""
    async with aclosing(_Outputs(other, request, model, tokenizer, events).stream()) as chunks:
        async for chunk in chunks:
            yield chunk


@dataclass(frozen=True, slots=True)
class _Outputs:
    """The attempts at one request."""

    other: OtherServer
    request: GenerationRequest
    model: str
    tokenizer: Tokenizer
    events: Events

    async def stream(self) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of the first attempt whose output starts with the forced prefix."""
        prefix, other = self.request.forced_prefix, self.other
        try:
            head = await self._search() if prefix and not other.ignores_restrictions else ()
            has_refused = False
        except (_IgnoredError, RequestError):  # perhaps the rest of the request is wrong
            head, has_refused = (), True
        attempts = self._attempt(head) if head or not prefix else self._corrected()
        async with aclosing(attempts) as chunks:
            async for chunk in chunks:
                yield chunk
        if has_refused:
            other.ignores_restrictions = True
            _log.info("%s does not restrict an output to given tokens", other.address)

    async def _search(self) -> tuple[Piece, ...]:
        """Return the likeliest tokens that cover the forced prefix.

        These are some tokens of its usual tokenization, and one that covers the rest of it and may
        go on. Our own engine searches the same tokenizations. Without log-probabilities it is the
        shortest sequence. Raises _IgnoredError and RequestError.
        """
        rest = self.request.forced_prefix.encode("utf-8", "surrogatepass")
        path: tuple[Piece, ...] = ()
        best: tuple[Piece, ...] = ()
        path_score, best_score = 0.0, -math.inf
        for id_ in self.tokenizer.encode(self.request.forced_prefix):
            top: dict[int, float] = {}
            if covering := _covering(self.tokenizer, rest):
                piece = await self._choose(path, covering)
                if piece.score is None:
                    return (*path, piece)
                if path_score + piece.score.logprob > best_score:
                    best, best_score = (*path, piece), path_score + piece.score.logprob
                top = dict(piece.score.top)
            # A token that is not reported is at most as likely as the last one that is.
            score = top.get(id_, min(top.values(), default=0.0))
            path_score += score
            if path_score <= best_score:
                break
            path = (*path, Piece(None, id_, TokenLogprob(id_, score, tuple(top.items()))))
            rest = rest.removeprefix(self.tokenizer.bytes_by_id[id_])
        return best

    async def _choose(self, path: tuple[Piece, ...], allowed: Sequence[int]) -> Piece:
        """Return the likeliest of some tokens after `path`.

        Raises _IgnoredError if the server chooses another one, RequestError if it refuses.
        """
        request = replace(
            self.request,
            prompt=(*self.request.prompt, *_ids(path)),
            max_new_tokens=1,
            stop_ids=frozenset(),
            stop_text=(),
            single_line=False,
            sampling=Sampling(),
            logprobs=self.other.server.max_alternatives,
        )
        server = self.other.server
        body = server.body(request, self.model) | server.restriction(allowed)
        piece: Piece | None = None
        async with aclosing(self.events(server.path, body)) as payloads:
            async for payload in payloads:
                pieces = () if payload is None else self._read(payload).pieces
                piece = piece or next(iter(pieces), None)
        if piece is not None and piece.id is None:
            piece = replace(piece, id=token_id(piece.text or "", self.tokenizer))
        if piece is None or piece.id not in allowed:
            raise _IgnoredError
        return Piece(None, piece.id, piece.score)

    async def _corrected(self) -> AsyncGenerator[Chunk, None]:
        head: tuple[Piece, ...] = ()
        for _ in range(_MAX_CORRECTIONS):
            try:
                async with aclosing(self._attempt(head)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except PrefixError as error:
                if error.alternative is None or any(each.id is None for each in error.accepted):
                    break
                head = (*error.accepted, error.alternative)
        async with aclosing(self._appended()) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _appended(self) -> AsyncGenerator[Chunk, None]:
        prefix = self.request.forced_prefix
        ids = tuple(self.tokenizer.encode(prefix))
        async with aclosing(self._attempt((Piece(prefix),), ids)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _attempt(
        self, head: tuple[Piece, ...], head_ids: tuple[int, ...] = ()
    ) -> AsyncGenerator[Chunk, None]:
        """Yield an output that begins with `head`, which is appended to the prompt.

        Raises PrefixError before the first chunk.
        """
        output = Output(self.request, self.tokenizer)
        for piece in head:
            output.add(piece)
        ids = head_ids or _ids(head)
        if len(ids) >= self.request.max_new_tokens:
            output.end(FinishReason.LENGTH)
            yield output.last(None)
            return
        body = self._body(ids, is_appended=bool(head_ids))
        finish: FinishReason | None = None
        usage: Usage | None = None
        num_pieces = 0
        async with aclosing(self.events(self.other.server.path, body)) as payloads:
            async for payload in payloads:
                if payload is None:  # the server has ended the stream properly
                    finish = finish or FinishReason.STOP
                    break
                event = self._read(payload)
                num_pieces += len(event.pieces)
                for piece in event.pieces:
                    output.add(piece)
                finish, usage = event.finish or finish, event.usage or usage
                if output.finish is not None and finish is None:
                    break  # closing the connection ends the output on the server
                if output.finish is None and (chunk := output.take()):
                    yield chunk
        if output.finish is None:
            if finish is None:
                raise EngineLostError("The engine's output ended in the middle. Try again.")
            output.end(finish)
        # No usage comes if the client ends the output.
        num_tokens = num_pieces if usage is None else usage.completion_tokens
        self._note_missing(output, num_tokens)
        yield output.last(usage)

    def _note_missing(self, output: Output, num_tokens: int) -> None:
        """Remember what the server did not report with an output."""
        if num_tokens <= 1:  # it may be the stop id, which has no score
            return
        if self.request.logprobs is not None and not output.has_scores:
            self.other.report_missing_scores()
        # A server may report ids only together with log-probabilities, which no chat requests.
        if self.request.priority is Priority.CHAT and not output.has_ids:
            self.other.is_chat_without_ids = True

    def _read(self, payload: Any) -> Event:
        try:
            return self.other.server.read(payload, self.tokenizer)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise EngineUnavailableError(
                f"{self.other.address} does not answer as OpenAI's API does. Check "
                "starcoder.engineUrl."
            ) from error

    def _body(self, ids: tuple[int, ...], *, is_appended: bool) -> dict[str, Any]:
        request, server = self.request, self.other.server
        logprobs = request.logprobs
        if request.forced_prefix and not ids:
            logprobs = server.max_alternatives  # to continue from one that agrees with the prefix
        sent = replace(
            request,
            prompt=(*request.prompt, *ids),
            max_new_tokens=max(1, request.max_new_tokens - len(ids)),
            forced_prefix="" if is_appended else request.forced_prefix,
            logprobs=logprobs,
        )
        return server.body(sent, self.model)


def _covering(tokenizer: Tokenizer, prefix: bytes) -> list[int]:
    """Return the tokens that start with some bytes."""
    return [id_ for id_, content in tokenizer.bytes_by_id.items() if content.startswith(prefix)]


def _ids(pieces: Sequence[Piece]) -> tuple[int, ...]:
    return tuple(piece.id for piece in pieces if piece.id is not None)

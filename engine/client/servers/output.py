"""The output of a server that is not ours, as our own engine would emit it.

A server may include the stop id, ignore stop ids and stop text, or know no `single_line`. So the
client applies them itself, to the text of each token. If a server reports text only, the names of
stop tokens in this text take the place of their ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.client.servers.base import Piece
from engine.decoding.stop_text import StopText
from engine.tokenizer import Tokenizer


class PrefixError(Exception):
    """The output does not start with the forced prefix. Never shown to the user."""

    def __init__(self, accepted: Sequence[Piece], alternative: Piece | None) -> None:
        """`accepted` are the pieces that agree with the prefix. `alternative` is the likeliest
        token that agrees with the rest of it, None if the server reports none."""
        super().__init__("the output does not start with the forced prefix")
        self.accepted, self.alternative = tuple(accepted), alternative


class Output:
    """Collects the pieces of one output and returns them as chunks."""

    def __init__(self, request: GenerationRequest, tokenizer: Tokenizer) -> None:
        self._request, self._tokenizer = request, tokenizer
        self._prefix_left = request.forced_prefix.encode("utf-8", "surrogatepass")
        """The bytes of the forced prefix that have not been generated yet."""
        self._in_prefix: list[Piece] = []
        self._decoder = tokenizer.stream()
        self._stop_text = StopText(
            request.stop_text,
            len(request.forced_prefix),
            single_line=request.single_line,
            continue_line_after=request.continue_line_after,
        )
        end = tokenizer.end_of_text_id
        self._stop_ids = request.stop_ids | (frozenset() if end is None else {end})
        self._stop_names = _StopNames(
            [name for name, id_ in tokenizer.special_tokens.items() if id_ in self._stop_ids],
            len(request.forced_prefix),
        )
        self._text = ""
        self._ids: list[int] = []
        self._ends: list[int] = []
        self._scores: list[TokenLogprob] = []
        self.has_scores = False
        """Whether the server has reported a log-probability."""
        self.has_ids = False
        """Whether the server has reported a token id."""
        self.finish: FinishReason | None = None
        """Reason for which the client ends the output; it may differ from the server's."""

    def add(self, piece: Piece) -> None:
        """Add a piece. Raises PrefixError if the output does not start with the forced prefix."""
        if self.finish is not None:
            return
        self.has_ids = self.has_ids or piece.id is not None
        if piece.id in self._stop_ids:
            self.end(FinishReason.STOP)
            return
        score = piece.score
        if self._prefix_left:
            score = self._advance_in_prefix(piece)
        if piece.id is not None:
            self._ids.append(piece.id)
            if score is not None and self._request.logprobs is not None:
                top = score.top[: self._request.logprobs]
                self._scores.append(TokenLogprob(score.id, score.logprob, top))
                self.has_scores = True
        text = self._stop_names.feed(self._text_of(piece), has_id=piece.id is not None)
        self._text += self._stop_text.feed(text)
        if piece.id is not None:
            self._ends.append(len(self._text))
        if self._stop_text.reached:
            self.finish = FinishReason.STOP
        elif self._stop_names.reached:
            self.end(FinishReason.STOP)

    def end(self, reason: FinishReason) -> None:
        """End the output because the server did.

        Raises PrefixError if the forced prefix is incomplete, except at the maximum number of
        tokens.
        """
        if self.finish is None:
            if self._prefix_left and reason is FinishReason.STOP:
                raise PrefixError(self._in_prefix, None)
            self.finish = reason
            rest = self._stop_names.flush() + self._decoder.flush()
            self._text += self._stop_text.feed(rest)
            self._text += self._stop_text.flush()

    def take(self) -> Chunk | None:
        """Return what is new, None if that is nothing or the forced prefix is not complete."""
        if self._prefix_left or not (self._text or self._ids):
            return None
        return self._take()

    def last(self, usage: Usage | None) -> Chunk:
        """Return the last chunk."""
        return self._take(usage)

    def _take(self, usage: Usage | None = None) -> Chunk:
        scores = tuple(self._scores) if len(self._scores) == len(self._ids) else ()
        chunk = Chunk(self._text, tuple(self._ids), scores, tuple(self._ends), self.finish, usage)
        self._text = ""
        for pending in (self._ids, self._ends, self._scores):
            pending.clear()
        return chunk

    def _advance_in_prefix(self, piece: Piece) -> TokenLogprob | None:
        """Return the score of a piece relative to the tokens that agree with the forced prefix.

        The server reports few alternatives, so the others count as impossible.
        """
        content = self._bytes(piece)
        agreeing = [
            (id_, value)
            for id_, value in (piece.score.top if piece.score else ())
            if _agrees(self._tokenizer.bytes_by_id.get(id_, b""), self._prefix_left)
        ]
        if content and not _agrees(content, self._prefix_left):
            raise PrefixError(self._in_prefix, _alternative(piece.score, agreeing))
        self._prefix_left = self._prefix_left[len(content) :]
        self._in_prefix.append(piece)
        if piece.score is None:
            return None
        values = dict(agreeing) | {piece.score.id: piece.score.logprob}
        total = _log_sum(list(values.values()))
        top = tuple((id_, value - total) for id_, value in agreeing)
        return TokenLogprob(piece.score.id, piece.score.logprob - total, top)

    def _text_of(self, piece: Piece) -> str:
        if piece.text is not None or piece.id is None:
            return piece.text or ""
        return self._decoder.feed_one(piece.id)

    def _bytes(self, piece: Piece) -> bytes:
        if piece.text is not None:
            return piece.text.encode("utf-8", "surrogatepass")
        return b"" if piece.id is None else self._tokenizer.bytes_by_id.get(piece.id, b"")


class _StopNames:
    """Searches text without token ids for the names of the special tokens that end the output.

    Text with ids is not searched: there a name is text that the model has written.
    """

    def __init__(self, names: Sequence[str], ignore_first: int) -> None:
        self._names, self._ignore_first = names, ignore_first
        self._search = StopText(names, ignore_first)

    @property
    def reached(self) -> bool:
        """Whether a name has appeared."""
        return self._search.reached

    def feed(self, text: str, *, has_id: bool) -> str:
        """Add the text of a piece; return the text that can be passed on."""
        self._ignore_first = max(0, self._ignore_first - len(text))
        if not has_id:
            return self._search.feed(text)
        before = self._search.flush()
        self._search = StopText(self._names, self._ignore_first)
        return before + text

    def flush(self) -> str:
        """Return the text that is held back, at the end of the output."""
        return self._search.flush()


def _alternative(score: TokenLogprob | None, agreeing: Sequence[tuple[int, float]]) -> Piece | None:
    """Return the likeliest alternative that agrees with the forced prefix as a piece."""
    if score is None or not agreeing:
        return None
    id_, value = max(agreeing, key=lambda pair: pair[1])
    return Piece(None, id_, TokenLogprob(id_, value, score.top))


def _agrees(content: bytes, prefix: bytes) -> bool:
    """Return whether a token can be the next one of an output that starts with a prefix."""
    return bool(content) and (content.startswith(prefix) or prefix.startswith(content))


def _log_sum(values: Sequence[float]) -> float:
    """Return the logarithm of the sum of the probabilities with these logarithms."""
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))

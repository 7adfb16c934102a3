"""One engine, asked to fill in the middle: from a snapshot to a cut answer with its scores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from engine.api import Chunk, Engine, FinishReason, GenerationRequest, Priority, Sampling
from fim.postprocess.confidence import Scorer, Scores
from fim.postprocess.repetition import without_repetition
from fim.postprocess.truncate import Extent, Scope, Truncator, continue_line_after
from fim.prompt import build as prompting
from fim.prompt.families import FimFamily, detect
from fim.prompt.token_healing import partial_token
from fim.prompt.window import Encode, cached_encoder
from fim.request.speed import Speed
from fim.settings import DEFAULT_FORM, FORMS, FimSettings, Form
from fim.snapshot import Snapshot

_ROOMY = 4096
"""Positions from which on a model has room for parts of other files beside this one."""

_IMPOSSIBLE = -50.0
"""Log-probability of what was not let through, or as good as that."""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How something is asked for."""

    priority: Priority = Priority.COMPLETION
    draft: str = ""
    """What the answer may well be."""
    first: int | None = None
    """The token to begin with."""


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What the model wrote, up to where it is cut."""

    text: str
    scores: Scores
    finished: bool
    """Whether the model ended it, or went on beyond what is shown; not so for want of tokens."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the prompt needs to know of the engine."""

    encode: Encode
    decode: Callable[[tuple[int, ...]], str]
    family: FimFamily
    context_window: int
    form: Form


@dataclass(slots=True)
class _Reading:
    """An answer as it arrives."""

    begin: str
    text: str = ""
    finish: FinishReason | None = None
    scorer: Scorer = field(default_factory=Scorer)

    def take(self, chunk: Chunk) -> None:
        self.text += chunk.text
        self.scorer.add(chunk.text, [token.logprob for token in chunk.logprobs], chunk.ends)
        self.finish = chunk.finish

    @property
    def new(self) -> str:
        """What it says behind the beginning it was given."""
        return self.text[len(self.begin) :]


class FimModel:
    """Asks one engine."""

    def __init__(self, engine: Engine, settings: FimSettings) -> None:
        self._engine, self._settings = engine, settings
        self._known: _Known | None = None
        self.num_requests = 0
        """How often the engine was asked so far, for somebody who waited."""
        self.num_prefetches = 0
        """How often for what nobody waited for yet."""
        self.tokens_per_second = 0.0
        """How fast it wrote when last it did; 0 while that is unknown."""

    def forget(self) -> None:
        """RequestOptions the engine anew what it holds: it is another one now."""
        self._known = None

    async def write(
        self,
        snapshot: Snapshot,
        cutter: Truncator,
        ask: RequestOptions,
        on_text: Callable[[str], None],
    ) -> ModelOutput:
        """Return the answer at the cursor, telling how it grows. Raises StarcoderError."""
        known = await self._look()
        begin = self._begin(snapshot)
        head, left = "", begin
        if ask.first is not None:
            head, left = _after(known.decode((ask.first,)), begin)
        request = await self._request(known, snapshot, cutter, ask, begin)
        request = replace(request, forced_prefix=left)
        if ask.first is not None:  # is in the prompt, and may be how the line ends
            request = replace(request, single_line=False)
        reading, speed = _Reading(left), Speed()
        prefetching = ask.priority is Priority.PREFETCH
        self.num_prefetches += prefetching
        self.num_requests += not prefetching
        async with aclosing(self._engine.stream(request)) as stream:
            async for chunk in stream:
                speed.take(chunk)
                reading.take(chunk)
                on_text(head + reading.new)
                if _enough(head + reading.new, snapshot, cutter):
                    break  # what follows would be cut off: closing the stream stops the engine
        self.tokens_per_second = speed.tokens_per_second or self.tokens_per_second
        limited = reading.finish is FinishReason.LENGTH
        cut = cutter.truncate(head + reading.new, ended=True, limited=limited)
        scores = reading.scorer.scores().from_offset(len(left)).behind(len(head))
        return ModelOutput(cut.text, scores, not limited)

    async def fill(self, snapshot: Snapshot, stop_text: tuple[str, ...] = ()) -> str:
        """Return what the model writes at the cursor, greedily, up to one of the stop texts.

        Nothing is cached, truncated or cleaned. Raises UnsupportedModelError for a model without
        fill-in-the-middle, and the errors of the engine.
        """
        known = await self._look()
        room, prompt = await self._prompt(known, snapshot)
        request = GenerationRequest(
            prompt.ids,
            room,
            stop_ids=known.family.stop_ids,
            stop_text=stop_text,
            adapter=self._settings.adapter,
        )
        text = ""
        async with aclosing(self._engine.stream(request)) as stream:
            async for chunk in stream:
                text += chunk.text
        return text

    async def reads_others(self) -> bool:
        """Whether the prompt is to have parts of other files."""
        known, related = await self._look(), self._settings.related_files
        roomy = known.context_window >= _ROOMY
        return known.family.files is not None and (
            related == "always" or (related == "auto" and roomy)
        )

    async def first_token_candidates(
        self, snapshot: Snapshot, most: int
    ) -> list[tuple[int, float]]:
        """Return the likeliest tokens to begin with that write something, and how likely they are.

        As (id, log-probability), best first; nothing from an engine that tells no alternatives.
        """
        known = await self._look()
        cutter = Truncator(snapshot, Scope(Extent.LINE))
        begin = self._begin(snapshot)
        request = await self._request(known, snapshot, cutter, RequestOptions(), begin)
        asked = replace(request, max_new_tokens=1, logprobs=most)
        top: tuple[tuple[int, float], ...] = ()
        async with aclosing(self._engine.stream(asked)) as stream:
            async for chunk in stream:
                top = top or tuple(one for score in chunk.logprobs[:1] for one in score.top)
        return [
            (id_, logprob)
            for id_, logprob in top
            if id_ not in known.family.stop_ids
            and logprob > _IMPOSSIBLE
            and "\ufffd" not in known.decode((id_,))
        ]

    def _begin(self, snapshot: Snapshot) -> str:
        return partial_token(snapshot.line_before) if self._settings.token_healing else ""

    async def _request(
        self, known: _Known, snapshot: Snapshot, cutter: Truncator, ask: RequestOptions, begin: str
    ) -> GenerationRequest:
        room, prompt = await self._prompt(known, without_last_characters(snapshot, len(begin)))
        first = () if ask.first is None else (ask.first,)
        return GenerationRequest(
            prompt=(*prompt.ids, *first),
            max_new_tokens=room if cutter.scope.extent is Extent.BLOCK else max(1, room // 2),
            stop_ids=known.family.stop_ids,
            sampling=Sampling(temperature=self._settings.temperature),
            priority=ask.priority,
            logprobs=0,
            adapter=self._settings.adapter,
            draft_tokens=tuple(known.encode(begin + ask.draft)) if ask.draft else (),
            forced_prefix=begin,
            single_line=cutter.scope.extent is not Extent.BLOCK,
            continue_line_after=continue_line_after(cutter.scope),
        )

    async def _prompt(self, known: _Known, snapshot: Snapshot) -> tuple[int, prompting.Prompt]:
        """Return the maximum length of the output in tokens, and the prompt."""
        settings = self._settings
        # Small models have small context windows: at least half of it is left for the prompt.
        room = min(settings.max_new_tokens, known.context_window // 2)
        limit = min(settings.max_prompt_tokens, known.context_window - room)
        form = known.form if settings.form == "auto" else settings.form
        prompt = await asyncio.to_thread(
            prompting.build, snapshot, known.family, known.encode, limit, form
        )
        return room, prompt

    async def _look(self) -> _Known:
        if self._known is None:
            tokenizer, info = await self._engine.tokenizer(), await self._engine.info()
            form = next((f for f in FORMS if f == info.fim_form), DEFAULT_FORM)
            encode = cached_encoder(tokenizer.encode)
            family = detect(tokenizer)
            self._known = _Known(encode, tokenizer.decode, family, info.context_window, form)
        return self._known


def without_last_characters(snapshot: Snapshot, size: int) -> Snapshot:
    """Return the snapshot without the last `size` characters before the cursor."""
    if not size:
        return snapshot
    cursor = snapshot.cursor - size
    return replace(snapshot, text=snapshot.text[:cursor] + snapshot.after, cursor=cursor)


def _after(token: str, begin: str) -> tuple[str, str]:
    """Return what a first token says behind the beginning, and what is left of the beginning."""
    if token.startswith(begin):
        return token[len(begin) :], ""
    return "", begin.removeprefix(token)


def _enough(text: str, snapshot: Snapshot, cutter: Truncator) -> bool:
    looping = without_repetition(text, snapshot.line_before) != text
    return looping or cutter.truncate(text, ended=False).done

"""Fill-in-the-middle with one engine: from a snapshot to truncated output with its scores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from engine.api import Chunk, Engine, FinishReason, GenerationRequest, Memory, Priority, Sampling
from engine.errors import EngineLostError, EngineReplacedError, UnsupportedModelError
from fim.memory.near import near_parts
from fim.postprocess.confidence import Scorer, Scores
from fim.postprocess.repetition import without_repetition
from fim.postprocess.truncate import Extent, Scope, Truncator, continue_line_after
from fim.prompt.build import build
from fim.prompt.families import FimFamily, detect
from fim.prompt.token_healing import partial_token
from fim.prompt.window import Encode, cached_encoder, unix_lines
from fim.request.in_flight import OnText
from fim.request.speed import SpeedMeter
from fim.settings import DEFAULT_FORM, FORMS, FimSettings, Form
from fim.snapshot import Snapshot

MIN_WINDOW_FOR_RELATED_FILES = 4096
"""Minimum context window, in tokens, for excerpts of other files with `related_files="auto"`."""

_MEMORY_CHARACTERS = 200
"""Number of characters before the output that are compared with the passages of the project."""

_MIN_LOGPROB = -50.0
"""Minimum log-probability of a first token. Below it, the token is excluded or impossible."""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """Options of one request to the engine."""

    priority: Priority = Priority.COMPLETION
    draft: str = ""
    """Text that the output is expected to begin with, for speculative decoding."""
    first_token: int | None = None
    """Id of the token that the output must begin with."""


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Truncated output of the model."""

    text: str
    scores: Scores
    is_complete: bool
    """Whether the text ends by itself, rather than at the maximum number of tokens."""


@dataclass(frozen=True, slots=True)
class _ModelProperties:
    """Properties of the engine's model that a prompt depends on."""

    encode: Encode
    encode_start: Encode
    decode: Callable[[tuple[int, ...]], str]
    family: FimFamily
    context_window: int
    form: Form
    uses_passages: bool


@dataclass(slots=True)
class _OutputBuffer:
    """The output of a request as its chunks arrive."""

    forced_prefix: str
    received: str = ""
    finish: FinishReason | None = None
    scorer: Scorer = field(default_factory=Scorer)

    def add(self, chunk: Chunk) -> None:
        self.received += chunk.text
        self.scorer.add(chunk.text, [token.logprob for token in chunk.logprobs], chunk.ends)
        self.finish = chunk.finish

    @property
    def text(self) -> str:
        """The output after the forced prefix."""
        return self.received[len(self.forced_prefix) :]


class FimModel:
    """Fill-in-the-middle with one engine."""

    def __init__(self, engine: Engine, settings: FimSettings) -> None:
        self._engine, self._settings = engine, settings
        self._properties: _ModelProperties | None = None
        self.num_requests = 0
        """Number of requests so far, without prefetches."""
        self.tokens_per_second = 0.0
        """Decoding speed of the last request; 0 while it is unknown."""

    def reset(self) -> None:
        """Forget the properties of the model, because the engine now has another one."""
        self._properties = None

    async def generate(
        self, snapshot: Snapshot, truncator: Truncator, options: RequestOptions, on_text: OnText
    ) -> ModelOutput:
        """Return the truncated output at the cursor. Raises StarcoderError.

        `on_text` is called with the output so far whenever it grows. If the engine ends meanwhile,
        the request is made once more: nothing of its output was shown yet.
        """
        has_output = False

        def receive(text: str) -> None:
            nonlocal has_output
            has_output = True
            on_text(text)

        try:
            return await self._generate(snapshot, truncator, options, receive)
        except EngineLostError as error:
            # Without output, the client of the engine has tried it again already.
            is_worth_it = has_output or isinstance(error, EngineReplacedError)
            if not is_worth_it or options.priority is Priority.PREFETCH:
                raise
        self.reset()
        return await self._generate(snapshot, truncator, options, on_text)

    async def _generate(
        self, snapshot: Snapshot, truncator: Truncator, options: RequestOptions, on_text: OnText
    ) -> ModelOutput:
        properties = await self._load_properties()
        partial = self._partial_token(snapshot)
        # A given first token is part of the prompt. Its text is part of the output, except for the
        # characters that the user has typed already.
        head, forced_prefix = "", partial
        if options.first_token is not None:
            head, forced_prefix = _split_first_token(
                properties.decode((options.first_token,)), partial
            )
        request = await self._request(properties, snapshot, truncator, options, partial)
        request = replace(request, forced_prefix=forced_prefix)
        if options.first_token is not None:  # the line may end with this token
            request = replace(request, single_line=False)
        if options.priority is not Priority.PREFETCH:
            self.num_requests += 1
        buffer, speed = _OutputBuffer(forced_prefix), SpeedMeter()
        async with aclosing(self._engine.stream(request)) as stream:
            async for chunk in stream:
                speed.add(chunk)
                buffer.add(chunk)
                on_text(head + buffer.text)
                if _is_enough(head + buffer.text, snapshot, truncator):
                    break  # the rest would be truncated; closing the stream stops the engine
        self.tokens_per_second = speed.tokens_per_second or self.tokens_per_second
        limited = buffer.finish is FinishReason.LENGTH
        truncated = truncator.truncate(head + buffer.text, ended=True, limited=limited)
        scores = buffer.scorer.scores().from_offset(len(forced_prefix)).shifted(len(head))
        return ModelOutput(truncated.text, scores, is_complete=not limited)

    async def fill(
        self, snapshot: Snapshot, stop_text: tuple[str, ...] = (), *, needs_suffix: bool = False
    ) -> str:
        """Return the greedy output at the cursor, up to the first stop text.

        Nothing is cached, truncated or cleaned. Raises the errors of the engine, and
        UnsupportedModelError if the text after the cursor is needed and the model cannot see it.
        """
        properties = await self._load_properties()
        if needs_suffix and properties.family.fim is None:
            raise UnsupportedModelError(
                f"{properties.family.note} Use a model with these tokens, such as "
                "bigcode/starcoderbase-1b, or ask in the chat."
            )
        max_new_tokens, prompt = await self._prompt(properties, snapshot)
        request = GenerationRequest(
            prompt,
            max_new_tokens,
            stop_ids=properties.family.stop_ids,
            stop_text=stop_text,
            adapter=self._settings.adapter,
        )
        text = ""
        async with aclosing(self._engine.stream(request)) as stream:
            async for chunk in stream:
                text += chunk.text
        return text

    async def uses_related_files(self) -> bool:
        """Return whether the prompt includes excerpts of other files."""
        properties, setting = await self._load_properties(), self._settings.related_files
        is_large = properties.context_window >= MIN_WINDOW_FOR_RELATED_FILES
        is_wanted = setting == "always" or (setting == "auto" and is_large)
        return properties.family.files is not None and is_wanted

    async def uses_passages(self) -> bool:
        """Return whether the engine itself uses the passages of a snapshot."""
        return (await self._load_properties()).uses_passages

    async def first_token_candidates(
        self, snapshot: Snapshot, max_count: int
    ) -> list[tuple[int, float]]:
        """Return the most probable first tokens that have a text, the most probable one first.

        Each is a pair of token id and log-probability. The list is empty if the engine reports no
        alternatives.
        """
        properties = await self._load_properties()
        truncator = Truncator(snapshot, Scope(Extent.LINE))
        partial = self._partial_token(snapshot)
        request = await self._request(properties, snapshot, truncator, RequestOptions(), partial)
        request = replace(request, max_new_tokens=1, logprobs=max_count)
        top: tuple[tuple[int, float], ...] = ()
        async with aclosing(self._engine.stream(request)) as stream:
            async for chunk in stream:
                top = top or tuple(pair for score in chunk.logprobs[:1] for pair in score.top)
        return [
            (token_id, logprob)
            for token_id, logprob in top
            if token_id not in properties.family.stop_ids
            and logprob > _MIN_LOGPROB
            and "\ufffd" not in properties.decode((token_id,))
        ]

    def _partial_token(self, snapshot: Snapshot) -> str:
        return partial_token(snapshot.line_before) if self._settings.token_healing else ""

    async def _request(
        self,
        properties: _ModelProperties,
        snapshot: Snapshot,
        truncator: Truncator,
        options: RequestOptions,
        partial: str,
    ) -> GenerationRequest:
        """Return a request whose output must begin with `partial`, the partial token."""
        max_new_tokens, prompt = await self._prompt(
            properties, without_last_characters(snapshot, len(partial))
        )
        scope, draft = truncator.scope, options.draft
        is_block = scope.extent is Extent.BLOCK
        first_token = () if options.first_token is None else (options.first_token,)
        return GenerationRequest(
            prompt=(*prompt, *first_token),
            max_new_tokens=max_new_tokens if is_block else max(1, max_new_tokens // 2),
            stop_ids=properties.family.stop_ids,
            sampling=Sampling(temperature=self._settings.temperature),
            priority=options.priority,
            logprobs=0,
            adapter=self._settings.adapter,
            draft_tokens=tuple(properties.encode(partial + draft)) if draft else (),
            forced_prefix=partial,
            single_line=not is_block,
            continue_line_after=continue_line_after(scope),
            memory=await asyncio.to_thread(
                self._memory, snapshot, partial, properties, first_token
            ),
        )

    def _memory(
        self,
        snapshot: Snapshot,
        partial: str,
        properties: _ModelProperties,
        first_token: tuple[int, ...],
    ) -> Memory | None:
        """Return the passages of the project for the engine, None if it uses none.

        The output follows the text before the partial token, or else a given first token.
        """
        settings = self._settings
        is_used = settings.memory_mixing or settings.memory_drafts
        if not (is_used and snapshot.passages and properties.uses_passages):
            return None
        end = snapshot.cursor - len(partial)
        before = snapshot.text[max(0, end - _MEMORY_CHARACTERS) : end]
        passages = [unix_lines(each.before + each.after) for each in snapshot.passages]
        return Memory(
            unix_lines(before + properties.decode(first_token)),
            (*near_parts(snapshot, end), *passages),
            is_mixed=settings.memory_mixing,
            is_draft=settings.memory_drafts,
        )

    async def _prompt(
        self, properties: _ModelProperties, snapshot: Snapshot
    ) -> tuple[int, tuple[int, ...]]:
        """Return the maximum length of the output in tokens, and the ids of the prompt."""
        settings = self._settings
        # Small models have small context windows: at least half of it is left for the prompt.
        max_new_tokens = min(settings.max_new_tokens, properties.context_window // 2)
        max_tokens = min(settings.max_prompt_tokens, properties.context_window - max_new_tokens)
        form = properties.form if settings.form == "auto" else settings.form
        prompt = await asyncio.to_thread(
            build,
            snapshot,
            properties.family,
            properties.encode,
            max_tokens,
            form,
            properties.encode_start,
        )
        return max_new_tokens, prompt

    async def _load_properties(self) -> _ModelProperties:
        if self._properties is None:
            tokenizer, info = await self._engine.tokenizer(), await self._engine.info()
            self._properties = _ModelProperties(
                encode=cached_encoder(tokenizer.encode),
                encode_start=cached_encoder(tokenizer.encode_start),
                decode=tokenizer.decode,
                family=detect(tokenizer),
                context_window=info.context_window,
                form=next((form for form in FORMS if form == info.fim_form), DEFAULT_FORM),
                uses_passages=info.uses_passages,
            )
        return self._properties


def without_last_characters(snapshot: Snapshot, count: int) -> Snapshot:
    """Return the snapshot without the last `count` characters before the cursor."""
    if not count:
        return snapshot
    cursor = snapshot.cursor - count
    return replace(snapshot, text=snapshot.text[:cursor] + snapshot.after, cursor=cursor)


def _split_first_token(token: str, partial: str) -> tuple[str, str]:
    """Return the text that a first token adds to the partial token, and the part still missing."""
    if token.startswith(partial):
        return token[len(partial) :], ""
    return "", partial.removeprefix(token)


def _is_enough(text: str, snapshot: Snapshot, truncator: Truncator) -> bool:
    """Return whether the suggestion is final, so that more output would not change it."""
    repeats = without_repetition(text, snapshot.line_before) != text
    return repeats or truncator.truncate(text, ended=False).done

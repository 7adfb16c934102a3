"""The contract between those who ask for text and those who hold a model.

Token ids go in, a stream of chunks comes out. Special tokens are ids that the caller places; text
of a user is always encoded with special tokens off (see `engine.tokenizer`). Nothing here imports
torch, so the language server and the tests of its parts start at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.tokenizer import Tokenizer


class Priority(IntEnum):
    """Who goes first when several requests wait: the smaller number."""

    COMPLETION = 0
    CHAT = 1
    PREFETCH = 2
    """What nobody waits for yet."""


class FinishReason(StrEnum):
    """Why an answer ended, in OpenAI's words."""

    STOP = "stop"
    """A stop id or stop text was reached; neither is part of the text."""
    LENGTH = "length"
    """`max_new_tokens` or the end of the context window was reached."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next id is chosen from the logits. The default is greedy."""

    temperature: float = 0.0
    """0 takes the likeliest id; larger values flatten the distribution before drawing."""
    top_p: float = 1.0
    """Draw from the smallest set of ids whose probability reaches this share, in (0, 1]."""
    top_k: int = 0
    """Draw from this many likeliest ids; 0 means all."""
    repetition_penalty: float = 1.0
    """Divide the logits of ids already in prompt or answer by this (Keskar et al. 2019, CTRL)."""
    seed: int | None = None
    """Same seed, same request, same answer; None draws a fresh seed."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One thing to write on."""

    prompt: tuple[int, ...]
    """Prompt ids, at least one, at most the context window less one."""
    max_new_tokens: int
    """At least 1; the answer also ends where the context window does."""
    stop_ids: frozenset[int] = frozenset()
    """Ids that end the answer and are not part of it. The model's end-of-text id is always one."""
    stop_text: tuple[str, ...] = ()
    """Strings that end the answer and are not part of it."""
    single_line: bool = False
    """Whether the first line feed ends the output. The line feed is not part of the output."""
    continue_line_after: tuple[str, ...] = ()
    """Exceptions to `single_line`: after a line that ends in one of these strings, trailing white
    space ignored, the output goes on for any number of lines.

    Example: `("{", ":")` asks for the rest of a line, or for the whole block if the line opens one.
    A server that is not ours gets `single_line` as an ordinary stop string, and only where
    `continue_line_after` is empty.
    """
    sampling: Sampling = field(default_factory=Sampling)
    priority: Priority = Priority.COMPLETION
    logprobs: int | None = None
    """How many likeliest alternatives to report for each id; 0 is the chosen id, None nothing."""
    adapter: str | None = None
    """Name of the LoRA adapter to answer with; None is the model as it is."""
    draft_tokens: tuple[int, ...] = ()
    """Ids that the answer may well begin with, such as the suggestion shown before.

    A guess that is checked, and costs little where it is wrong: the answer is the same without it,
    or, sampled, from the same distribution. A foreign server is not told of it.
    """
    forced_prefix: str = ""
    """What the answer must begin with, and does: the text of the chunks includes it.

    For a prompt whose last word is half typed: leave the word out of the prompt, down to where a
    token may well begin, and name it here. Only ids that agree with it are let through until it is
    written. They count as new tokens; stop text, stop ids and the end of the
    line hold only after it. Until then
    log-probabilities are those among the ids let through, so that together they say how likely the
    answer is, given its beginning. To a foreign server, which knows no such thing, the client sends
    it as the end of the prompt and says it itself, without ids.
    """


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural-log probability of one id, before temperature and truncation."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """(id, log-probability) of the likeliest alternatives, best first."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost."""

    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int
    """Prompt ids whose keys and values were still in the KV cache."""
    prefill_ms: float
    decode_ms: float
    drafted_tokens: int = 0
    """Ids that were guessed and checked several at a time."""
    accepted_tokens: int = 0
    """Of those, how many the model chose."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. Joined, the texts of all chunks are the answer."""

    text: str
    """Never half a UTF-8 character; may be empty."""
    ids: tuple[int, ...] = ()
    """The ids decoded since the chunk before, stop ids left out."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of `ids`, when asked for."""
    ends: tuple[int, ...] = ()
    """Where in `text`, in characters, each of `ids` ends; nothing where a foreign server does not
    say. An id that leaves a character unfinished ends before it."""
    finish: FinishReason | None = None
    """Set in the last chunk only."""
    usage: Usage | None = None
    """Set in the last chunk only."""


class EngineState(StrEnum):
    """Where an engine stands."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Health:
    """An engine's word about itself; asking for it never waits for the model."""

    state: EngineState
    detail: str = ""
    """What it is doing, or why it failed, in words for the user."""
    progress: float | None = None
    """Share of the loading that is done, 0 to 1, where it is known."""
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine holds."""

    model: str
    """Hub id, directory or name, as shown to the user."""
    model_type: str
    """As in config.json, such as `gpt_bigcode`; empty where a foreign server does not say."""
    context_window: int
    """Positions that prompt and answer share, in tokens."""
    device: str
    """Such as `cpu` or `cuda:0`."""
    dtype: str
    """Such as `float32` or `bfloat16`."""
    is_demo: bool
    """Whether this is the embedded demo model."""
    pid: int | None = None
    """The process that holds it, where that is known."""
    fim_form: str = ""
    """How it fills the middle best, as `fim.prompt.build.FORMS` names it; empty if it does not
    say."""
    chat_template: str = ""
    """The template that it brings for dialogues, in Jinja; empty if it brings none."""
    adapters: tuple[str, ...] = ()
    """Names of the LoRA adapters that it can answer with, as of when it was asked."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a dialogue."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A dialogue as the model wants it, up to where its answer begins."""

    ids: tuple[int, ...]
    stop_ids: frozenset[int]
    stop_text: tuple[str, ...]


@dataclass(slots=True)
class EngineMetrics:
    """What an engine has done since it was started."""

    steps: int = 0
    """Forward passes."""
    computed_ids: int = 0
    """Ids that went through them, guessed ones included."""
    reused_ids: int = 0
    """Ids of prompts whose keys and values were there already."""
    answers: int = 0
    """Answers begun."""
    cache_bytes: int = 0
    """What the KV caches take now."""


class Engine(Protocol):
    """Something that holds a model and writes on a prompt."""

    async def health(self) -> Health:
        """Return the state now. Does not raise and does not start anything."""
        ...

    async def info(self) -> EngineInfo:
        """Return what is held, waiting until it is loaded.

        Raises ModelError or EngineUnavailableError.
        """
        ...

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """Return the model's tokenizer, waiting until it is known. Raises as `info`.

        An adapter may add tokens; its tokenizer has them behind the model's own. RequestError for
        an adapter that is not there.
        """
        ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the answer; the last chunk, and only it, has `finish`.

        Closing the generator (`aclose`) or cancelling its task stops the decoding within one step.
        Raises RequestError, ModelError or EngineUnavailableError from the first or a later step.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what this object holds; a shared engine process lives on."""
        ...


class ScoringEngine(Engine, Protocol):
    """An engine that also says how likely a given text is, and what it has done."""

    def metrics(self) -> EngineMetrics:
        """Return what was done so far."""
        ...

    async def score(self, ids: tuple[int, ...], top: int) -> list[TokenLogprob | None]:
        """Return the log-probability of each id after those before it, None for the first.

        `top` is how many likeliest alternatives to report. Raises as `Engine.stream`.
        """
        ...

"""The contract between code that needs generated text and engines, which hold a model.

Token ids go in, and a stream of chunks comes out. Special tokens are ids that the caller inserts.
Text of a user is always encoded with special tokens off (see `engine.tokenizer`). Nothing here
imports torch, so the language server starts quickly.

Example:

    tokenizer = await engine.tokenizer()
    request = GenerationRequest(tuple(tokenizer.encode("def add(a, b):")), max_new_tokens=20)
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            print(chunk.text, end="")
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.tokenizer import Tokenizer


class Priority(IntEnum):
    """Priority of a request. The smallest number is computed first."""

    COMPLETION = 0
    CHAT = 1
    PREFETCH = 2
    """Priority of a speculative request, whose output is not needed yet."""


class FinishReason(StrEnum):
    """Reason for the end of an output, with the values of OpenAI's API."""

    STOP = "stop"
    """The output reached a stop id or stop text, which is not part of the output."""
    LENGTH = "length"
    """The output reached `max_new_tokens` or the end of the context window."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters for choosing the next token from the logits; the default is greedy."""

    temperature: float = 0.0
    """Temperature; 0 takes the likeliest token, larger values flatten the distribution."""
    top_p: float = 1.0
    """Draw from the smallest set of tokens whose probability reaches this share, in (0, 1]."""
    top_k: int = 0
    """Draw from this number of likeliest tokens; 0 means all."""
    repetition_penalty: float = 1.0
    """Divisor for the logits of tokens in prompt or output (Keskar et al. 2019, CTRL)."""
    seed: int | None = None
    """Seed; the same seed and request give the same output. None draws a new seed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of one request."""

    prompt_tokens: int
    completion_tokens: int
    reused_tokens: int
    """Number of prompt tokens whose rows were still in a KV cache."""
    prefill_ms: float
    decode_ms: float
    drafted_tokens: int = 0
    """Number of draft tokens that were checked."""
    accepted_tokens: int = 0
    """Number of draft tokens that the model chose."""


@dataclass(slots=True, eq=False)
class Progress:
    """What an engine has done for a request so far.

    The engine writes it while it works, so it is also right for a request that was cancelled.
    """

    prompt_length: int
    """Number of token ids of the prompt."""
    submitted: float = field(default_factory=time.monotonic)
    """Time of the request, in seconds of the monotonic clock."""
    started: float | None = None
    """Time at which the request stopped waiting for others; None until then."""
    reused_rows: int = 0
    """Number of rows that were in the prefix cache."""
    rows: int = 0
    """Number of rows of prompt and output that the KV cache holds, including reused ones."""
    usage: Usage | None = None
    """The final numbers, once the output is complete. They replace those above."""
    is_scoring: bool = False
    """Whether only the prompt is scored, with no output. A client's usage does not count that."""

    @property
    def prompt_tokens(self) -> int:
        """Number of prompt tokens that were computed or reused."""
        if self.usage is not None:
            return self.usage.prompt_tokens
        return min(self.rows, self.prompt_length)

    @property
    def completion_tokens(self) -> int:
        """Number of generated tokens."""
        if self.usage is not None:
            return self.usage.completion_tokens
        return max(0, self.rows - self.prompt_length)

    @property
    def reused_tokens(self) -> int:
        """Number of prompt tokens whose rows were in the prefix cache."""
        return self.reused_rows if self.usage is None else self.usage.reused_tokens


@dataclass(frozen=True, slots=True)
class Memory:
    """Text of the user's project that the output may repeat.

    Where the text before the output, or the output itself, occurs in a passage, the passage says
    what may follow.
    """

    before: str
    """The end of the text directly before the output, without special tokens."""
    passages: tuple[str, ...]
    """Pieces of text of the project. Each should begin at the start of a line."""
    is_mixed: bool = True
    """Whether what the passages say is mixed into the model's distribution at each step."""
    is_draft: bool = True
    """Whether the passages give draft tokens, which the output does not depend on."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A prompt for which output is to be generated."""

    prompt: tuple[int, ...]
    """Token ids of the prompt: at least one, at most the context window minus one."""
    max_new_tokens: int
    """Maximum number of tokens, at least 1. The output also ends at the context window."""
    stop_ids: frozenset[int] = frozenset()
    """Token ids that end the output and are not part of it. The end-of-text id always is one."""
    stop_text: tuple[str, ...] = ()
    """Strings that end the output and are not part of it."""
    single_line: bool = False
    """Whether the first line feed ends the output. The line feed is not part of the output."""
    continue_line_after: tuple[str, ...] = ()
    """Exceptions to `single_line`: after a line that ends in one of these strings, trailing white
    space ignored, the output goes on for any number of lines.

    Example: `("{", ":")` asks for the rest of a line, or for the whole block if the line opens one.
    For a server that is not ours, the client ends the output there.
    """
    sampling: Sampling = field(default_factory=Sampling)
    priority: Priority = Priority.COMPLETION
    logprobs: int | None = None
    """Number of likeliest alternatives to report per token, in addition to the chosen token.

    None reports no log-probabilities.
    """
    adapter: str | None = None
    """Name of the LoRA adapter to use; None is the base model."""
    draft_tokens: tuple[int, ...] = ()
    """Token ids with which the output may start, such as the previous suggestion.

    The model checks them several at a time (speculative decoding). A wrong draft costs little. The
    output does not depend on it; sampled output keeps its distribution. Not sent to a server that
    is not ours.
    """
    forced_prefix: str = ""
    """Text with which the output must start. The text of the chunks includes it.

    This is for a prompt that ends in a half-typed word (token healing): remove the word from the
    prompt and pass it here.

    - Only tokens that agree with the text are allowed until it is complete (constrained decoding).
    - These tokens count as new tokens. Stop text, stop ids and `single_line` apply only after them.
    - Their log-probabilities are relative to the allowed tokens. So their sum is the likelihood of
      the output given the forced prefix.
    - A server that is not ours is asked for a token that covers the text, and then for the rest of
      the output (`engine.client.servers.healing`). The log-probabilities are relative to the
      allowed tokens that it reports.
    """
    memory: Memory | None = None
    """Text of the project for the output; not sent to a server that is not ours.

    The log-probabilities of the output are those of the mixture (`engine.decoding.mixture`).
    """
    user: str = ""
    """Name of the user for whom a server computes this; empty if the engine has one user.

    An engine in this process shares its steps fairly between users. It is not sent to a server,
    which knows its users itself.
    """
    progress: Progress | None = field(default=None, compare=False, repr=False)
    """What the engine writes its progress to, if the caller needs it."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural-log probability of a token, before temperature and truncation."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """(id, log-probability) of the likeliest alternatives, best first."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the output. The texts of all chunks together are the output's text."""

    text: str
    """Text of complete characters, possibly empty."""
    ids: tuple[int, ...] = ()
    """Token ids generated since the previous chunk, without stop ids."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One log-probability for each of `ids`, if requested."""
    ends: tuple[int, ...] = ()
    """Offset in `text`, in characters, at which each of `ids` ends.

    A token that leaves a character incomplete ends before this character. The tuple is empty if a
    server that is not ours does not report offsets.
    """
    finish: FinishReason | None = None
    """Reason for the end of the output; set in the last chunk only."""
    usage: Usage | None = None
    """Cost of the request; set in the last chunk only."""


class EngineState(StrEnum):
    """State of an engine."""

    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    """The server ends: running requests finish, and new ones are refused."""


@dataclass(frozen=True, slots=True)
class Health:
    """The state of an engine. Reading it never waits for the model."""

    state: EngineState
    detail: str = ""
    """Current activity, or the reason of a failure, as a message for the user."""
    progress: float | None = None
    """Share of the loading that is done, from 0 to 1; None if unknown."""
    pid: int | None = None
    """Id of the engine process, None if unknown."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Description of the model that an engine holds."""

    model: str
    """Hub id, directory or name of the model, as shown to the user."""
    model_type: str
    """`model_type` of config.json, such as `gpt_bigcode`; empty if unknown."""
    context_window: int
    """Number of tokens that prompt and output may have together."""
    device: str
    """Device of the model, such as `cpu` or `cuda:0`."""
    dtype: str
    """Number format of the weights, such as `float32` or `int8`."""
    is_demo: bool
    """Whether this is the embedded demo model."""
    pid: int | None = None
    """Id of the engine process, None if unknown."""
    fim_form: str = ""
    """Prompt form with which the model fills in the middle best, empty if unknown.

    The forms are those of `fim.settings`.
    """
    chat_template: str = ""
    """The model's own Jinja template for dialogues; empty if it has none."""
    adapters: tuple[str, ...] = ()
    """Names of the LoRA adapters on disk for this model, at the time of the call."""
    fingerprint: str = ""
    """Hash of all that a prompt depends on (tokenizer, window, templates); empty if unknown.

    Two models of the same name with the same fingerprint understand the same prompts.
    """
    uses_passages: bool = False
    """Whether the engine itself uses the passages of the project that a request contains.

    A server that is not ours does not, and an older one of ours does not either.
    """


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a dialogue."""

    role: str
    """Author of the message: `system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A dialogue as a prompt for the model, up to the start of its answer."""

    ids: tuple[int, ...]
    stop_ids: frozenset[int]
    stop_text: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FimText:
    """The text around a place that the model is to fill."""

    prefix: str
    suffix: str
    excerpts: tuple[tuple[str, str], ...] = ()
    """Path and text of excerpts of other files, the most useful one last."""


@dataclass(frozen=True, slots=True)
class RenderedFim:
    """A prompt for fill-in-the-middle, up to the start of the middle."""

    ids: tuple[int, ...]
    stop_ids: frozenset[int]


@dataclass(slots=True)
class EngineMetrics:
    """Counters of an engine since its start, and the size of its KV caches."""

    steps: int = 0
    """Number of forward passes."""
    computed_tokens: int = 0
    """Number of tokens computed in these passes, including draft tokens."""
    reused_tokens: int = 0
    """Number of prompt tokens whose rows were in the prefix cache."""
    requests: int = 0
    """Number of requests started."""
    cache_bytes: int = 0
    """Bytes that the KV caches take now."""
    caches_in_use: int = 0
    """Number of KV caches that requests use now; 0 while the engine is idle."""
    requests_running: int = 0
    """Number of requests that are running now."""
    requests_waiting: int = 0
    """Number of requests that wait for others to end."""
    reloads: int = 0
    """Number of times that the model was replaced by a newly loaded one."""
    failed_reloads: int = 0
    """Number of times that the model could not be loaded again."""


class Engine(Protocol):
    """Holds a model and generates output for prompts."""

    async def health(self) -> Health:
        """Return the current state. This raises nothing and starts nothing."""
        ...

    async def info(self) -> EngineInfo:
        """Wait until the model is loaded and return its description.

        Raises ModelError or EngineUnavailableError.
        """
        ...

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """Return the tokenizer of the model, or of an adapter that adds tokens.

        Waits until it is known. Raises the errors of `info`, RequestError for an adapter that does
        not exist, and ConfigurationError for an invalid adapter name.
        """
        ...

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the output in chunks. Exactly the last chunk has `finish`.

        Closing the generator (`aclose`) or cancelling its task stops the decoding within one step.
        Raises RequestError, ModelError or EngineUnavailableError at any iteration.
        """
        ...

    async def aclose(self) -> None:
        """Release the resources of this object. A shared engine process keeps running."""
        ...


class ScoringEngine(Engine, Protocol):
    """An engine that also scores given text and reports metrics."""

    def metrics(self) -> EngineMetrics:
        """Return the counters. The object is updated as the engine works."""
        ...

    async def score(
        self, ids: tuple[int, ...], top: int, *, user: str = "", progress: Progress | None = None
    ) -> list[TokenLogprob | None]:
        """Return the log-probability of each id after those before it, None for the first.

        `top` is the number of likeliest alternatives per token; `user` and `progress` are those of
        a `GenerationRequest`. Raises the errors of `stream`.
        """
        ...

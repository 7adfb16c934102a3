"""Settings of code completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Eagerness = Literal["eager", "balanced", "reserved"]
"""Policy for showing suggestions: `eager` shows the least certain ones, `reserved` the fewest."""

Form = Literal["line", "cursor", "suffix-first"]
"""Order of prefix, suffix and middle in a prompt, see `fim.prompt.build`."""

FORMS: tuple[Form, ...] = get_args(Form)

DEFAULT_FORM: Form = "line"
"""The form for a model that does not say which form it fills best."""


@dataclass(frozen=True, slots=True)
class FimSettings:
    """Settings of code completion.

    The switches exist to measure what each mechanism gives (`benchmarks.ablation`). The settings
    that users may change are in `lsp_server.settings`.
    """

    max_new_tokens: int = 128
    """Maximum length of the model's output in tokens; for a single line, half of it."""
    max_prompt_tokens: int = 2048
    """Maximum length of the prompt in tokens; the model's context window also limits it.

    A longer prompt gives better suggestions and takes longer.
    """
    multiline: Literal["auto", "never"] = "auto"
    """Whether to suggest several lines: `auto` suggests a whole block where a block begins."""
    form: Form | Literal["auto"] = "auto"
    """The form of the prompt; `auto` uses the form that the model fills best."""
    adapter: str | None = None
    """Name of the LoRA adapter, None for the base model."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""
    eagerness: Eagerness = "balanced"
    """Confidence that the model needs before a suggestion is shown automatically."""
    cache_size: int = 200
    """Maximum number of cached suggestions."""
    cache_seconds: float = 600.0
    """Seconds until a cached suggestion expires."""
    related_files: Literal["auto", "always", "never"] = "auto"
    """Whether the prompt includes excerpts of other files.

    `auto` includes them if the model's context window is large enough.
    """
    recent_edits: bool = True
    """Whether a prompt that includes excerpts of other files includes recent edits too."""
    diagnostics: bool = True
    """Whether such a prompt includes the diagnostics that the editor sends."""
    project_memory: bool = True
    """Whether text that the project contains already is used, see `fim.memory`."""
    token_healing: bool = True
    """Whether the prompt leaves out a partial token, see `fim.prompt.token_healing`."""
    candidates: int = 3
    """Number of suggestions for a request that the user makes explicitly."""
    show_partial: bool = True
    """Whether the confident beginning of an uncertain line is shown."""
    join_in_flight: bool = True
    """Whether a completion request may wait for a request that is in flight already."""
    prefetch: bool = True
    """Whether the next line is prefetched while the user reads a suggestion."""
    draft_from_previous: bool = True
    """Whether the previous suggestion is sent to the engine as draft tokens."""
    memory_mixing: bool = True
    """Whether the engine mixes the project's text into the model's distribution."""
    memory_drafts: bool = True
    """Whether the engine takes draft tokens from the project's text."""
    memory_candidates: int = 2
    """Maximum number of suggestions from the project's text for an explicit request.

    They are in addition to those of the model, unless `candidates` is 1.
    """
    memory_override: Literal["auto", "always", "never"] = "auto"
    """Whether a text of the project is suggested instead of the model's if it is more probable.

    `auto` does so if the engine does not use passages of the project itself.
    """
    max_misses: int = 2
    """Requests without a visible suggestion, in one word, before requests pause until its end.

    0 disables this backoff.
    """

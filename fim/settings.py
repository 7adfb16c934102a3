"""How completions are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fim.postprocess.confidence import Eagerness
from fim.prompt.build import Form


@dataclass(frozen=True, slots=True)
class FimSettings:
    """How completions are made.

    The switches are for measuring what each mechanism gives (`benchmarks.ablation`); what a user
    may set is in `lsp_server.settings`.
    """

    max_new_tokens: int = 128
    """Room that is kept for the answer, in tokens; a line takes at most half of it."""
    max_prompt_tokens: int = 2048
    """More context is better and slower; the model's context window is the other limit."""
    multiline: Literal["auto", "never"] = "auto"
    """`auto` offers a block where one is begun."""
    form: Form | Literal["auto"] = "auto"
    """How the prompt is ordered, see `fim.prompt.build`; `auto` is what the model says it is best
    at."""
    adapter: str | None = None
    """Name of the LoRA adapter to complete with."""
    temperature: float = 0.0
    eagerness: Eagerness = "balanced"
    """How sure the model must be before something is shown unasked."""
    cache_size: int = 500
    cache_seconds: float = 600.0
    related: Literal["auto", "always", "never"] = "auto"
    """Whether the prompt has parts of other files; `auto` is for models with room for them."""
    healing: bool = True
    """Whether a half-typed word is left to the model to tokenize, see
    `fim.prompt.token_healing`."""
    candidates: int = 3
    """How many suggestions are made where one is asked for by hand."""
    partial: bool = True
    """Whether the sure beginning of an unsure line is shown."""
    prefetch: bool = True
    """Whether the line after a suggestion is made ready while that is looked at."""
    draft: bool = True
    """Whether the engine is told what was suggested before, as a guess."""
    patience: int = 2
    """Answers in one word of which nothing is shown, before it is left alone; 0 for never."""

"""The settings: a client sends a mapping of camelCase keys, we run with Settings.

A bad value gives one message and the default, never a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from chat.asker import ChatSettings
from chat.rendering import FormatName
from engine.settings import Device, Dtype, EngineSettings
from fim.settings import Eagerness, FimSettings, Form

SECTION = "starcoder"


class Settings(BaseModel):
    """What the server runs with."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True
    )

    enabled: bool = Field(True, description="Whether to suggest anything.")
    disabled_languages: tuple[str, ...] = Field(
        (), strict=False, description="Language ids in which nothing is suggested automatically."
    )
    exclude: tuple[str, ...] = Field(
        (
            ".env",
            ".env.*",
            "*.pem",
            "*.key",
            "*.p12",
            "*.pfx",
            "id_rsa*",
            "id_ed25519*",
            "*.kdbx",
            "secrets.*",
            ".netrc",
            ".npmrc",
            ".pypirc",
        ),
        strict=False,
        description="Files in which nothing is suggested, as patterns of .gitignore.",
    )
    respect_gitignore: bool = Field(
        True, description="Suggest nothing in files that git ignores, unless asked by hand."
    )
    model: str = Field(
        "auto",
        min_length=1,
        description="Hub id or directory of a model, `demo` for the embedded demo model, or `auto` "
        "for the largest StarCoder on disk that fits this machine.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
    dtype: Dtype = Field(
        "auto",
        description="Number format of the weights. `int8` and `int4` take a half and a quarter of "
        "`bfloat16`'s memory, and decode faster on a CPU; `auto` takes them where the rest does "
        "not fit.",
    )
    device: Device = Field(
        "auto", description="Where the model is held; `balanced` spreads it over GPUs and CPU."
    )
    draft_model: str | None = Field(
        None,
        min_length=1,
        description="Hub id or directory of a much smaller model of the same family, which guesses "
        "what the model will write: the same text, sooner. For the largest StarCoders, such as "
        "`bigcode/starcoderbase-1b` beside `bigcode/starcoder`.",
    )
    context_window: Annotated[int, Field(ge=64)] | None = Field(
        None, description="Fewer positions than the model has, to save memory."
    )
    offline: bool = Field(False, description="Never reach for the hub.")
    idle_timeout_seconds: float = Field(
        1800.0,
        ge=0,
        strict=False,
        description="Seconds without a request after which the engine gives its memory back; "
        "0 is never.",
    )
    engine_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Use the engine at this address (another machine's `starcoder-lsp serve`, "
        "vLLM) rather than one on this machine.",
    )
    engine_token: str | None = Field(None, description="The token that engine wants.")
    tokenizer: str | None = Field(
        None,
        description="Directory with the model's tokenizer.json, for an engine that does not give "
        "out its own.",
    )
    max_new_tokens: int = Field(128, ge=8, le=1024, description="Longest suggestion, in tokens.")
    max_prompt_tokens: int = Field(
        2048, ge=64, description="Most context to read around the cursor, in tokens."
    )
    multiline: Literal["auto", "never"] = Field(
        "auto", description="Whether to offer whole blocks where one is begun."
    )
    prompt_form: Form | Literal["auto"] = Field(
        "auto",
        description="How the prompt is ordered: the middle begins with a `line`, the cursor's or "
        "one of the seven above it, or at the `cursor`, or the text after the cursor comes first "
        "(`suffix-first`). `auto` is what the model is best at.",
    )
    adapter: str | None = Field(
        None,
        min_length=1,
        description="Name of an adapter that `starcoder-lsp tune` made for this model.",
    )
    related_files: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether the model is shown parts of other files of the project: definitions "
        "of imported names, and what is like the code at the cursor. `auto` is for models with "
        "room for it, of 4,096 tokens or more.",
    )
    eagerness: Eagerness = Field(
        "balanced",
        description="How sure the model must be before something is shown unasked: `eager` shows "
        "almost all that it has, `reserved` little that is wrong.",
    )
    debounce_ms: Annotated[int, Field(ge=0, le=5000)] | None = Field(
        None,
        description="Pause after a key before the model is asked; null follows your typing and the "
        "model's speed.",
    )
    statistics: bool = Field(
        True,
        description="Count what is shown and accepted, on this machine only; see "
        "`starcoder-lsp stats`.",
    )
    chat_format: FormatName | Literal["auto"] = Field(
        "auto",
        description="How dialogues are written out for the model: `chatml` is StarChat's, `own` "
        "the template that the model brings, `plain` is for a model that never saw a dialogue. "
        "`auto` is what the model knows.",
    )
    chat_system: str = Field(
        "", max_length=4000, description="What the model is told before every conversation."
    )
    chat_adapter: str | None = Field(
        None,
        min_length=1,
        description="Name of an adapter that `starcoder-lsp tune chat` made: it answers in chat, "
        "while completions come from the model as it is.",
    )
    chat_max_new_tokens: int = Field(
        768, ge=16, le=4096, description="Longest answer in chat, in tokens."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="How much to log; never the text of documents."
    )

    @property
    def engine(self) -> EngineSettings:
        """What a local engine process is started with."""
        return EngineSettings(
            model=self.model,
            revision=self.revision,
            dtype=self.dtype,
            device=self.device,
            draft_model=self.draft_model,
            context_window=self.context_window,
            offline=self.offline,
            idle_timeout_s=self.idle_timeout_seconds,
        )

    @property
    def fim(self) -> FimSettings:
        """How completions are made."""
        return FimSettings(
            max_new_tokens=self.max_new_tokens,
            max_prompt_tokens=self.max_prompt_tokens,
            multiline=self.multiline,
            form=self.prompt_form,
            adapter=self.adapter,
            eagerness=self.eagerness,
            related_files=self.related_files,
        )

    @property
    def chat(self) -> ChatSettings:
        """How the model is talked to."""
        return ChatSettings(
            system=self.chat_system,
            format_name=None if self.chat_format == "auto" else self.chat_format,
            adapter=self.chat_adapter,
            max_new_tokens=self.chat_max_new_tokens,
        )

    def same_engine(self, other: Settings) -> bool:
        """Whether the other settings mean the same engine."""
        mine = (self.engine, self.engine_url, self.engine_token, self.tokenizer)
        return mine == (other.engine, other.engine_url, other.engine_token, other.tokenizer)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and what was wrong with what the client sent."""

    settings: Settings
    problems: tuple[str, ...]


def resolve(sent: Any) -> Resolved:
    """Return the settings that a client's value means; every key that cannot be used is named.

    A value nested under `starcoder` is unwrapped, nulls are defaults, unknown keys are problems.
    """
    if isinstance(sent, Mapping) and set(sent) == {SECTION}:
        sent = sent[SECTION]
    # A client in Lua cannot tell an empty object from an empty list.
    if sent is None or sent == []:
        return Resolved(Settings(), ())
    if not isinstance(sent, Mapping):
        return Resolved(
            Settings(), (f"{SECTION}: expected an object of settings; all are default.",)
        )
    given = {str(key): value for key, value in sent.items() if value is not None}
    problems: list[str] = []
    # Each round drops the keys that failed; the rest is checked again without them.
    while True:
        try:
            return Resolved(Settings.model_validate(given), tuple(problems))
        except ValidationError as error:
            for key in {str(one["loc"][0]) for one in error.errors()}:
                problems.append(_problem(key, given.pop(key), error))


def _problem(key: str, value: Any, error: ValidationError) -> str:
    found = next(one for one in error.errors() if str(one["loc"][0]) == key)
    if found["type"] == "extra_forbidden":
        return f"{SECTION}.{key} is no setting; it is ignored."
    shown = "…" if key == "engineToken" else repr(value)[:80]
    default = default_of(key)
    return f"{SECTION}.{key} = {shown}: {found['msg']}. The default {default!r} is used."


def default_of(key: str) -> Any:
    """Return the default of a setting by its camelCase name."""
    fields = {field.alias: field for field in Settings.model_fields.values()}
    return fields[key].default


def schema() -> dict[str, Any]:
    """Return the JSON schema of the settings, for an editor's manifest."""
    return Settings.model_json_schema(by_alias=True)

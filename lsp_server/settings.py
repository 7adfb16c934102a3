"""The settings: a client sends an object with camelCase keys, the server runs with Settings.

A value that cannot be used gives one message and the default, never a crash. A value that is
accepted can be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from chat.asker import ChatSettings
from chat.rendering import FormatName
from engine.settings import Device, Dtype, EngineSettings
from fim.settings import Eagerness, FimSettings, Form
from workspace.ignore_patterns import PatternError, check_pattern

SECTION = "starcoder"
_MAX_TOKENS = 1 << 24
"""No model has a context window of this size."""
_MAX_SECONDS = 1e9


class Settings(BaseModel):
    """The settings that the server runs with; editors show the descriptions."""

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
        description="Files in which nothing is suggested and which are not read as related files, "
        "as `.gitignore` patterns relative to the workspace folder.",
    )
    respect_gitignore: bool = Field(
        True, description="Suggest nothing automatically in files that git ignores."
    )
    git: bool = Field(
        True,
        description="Run git to list the files of a project, to read staged changes, and to ask "
        "which files it ignores. It runs no program that the repository names. VS Code switches it "
        "off in a workspace that you do not trust.",
    )
    model: str = Field(
        "auto",
        min_length=1,
        description="Hub id, directory or GGUF file of a model, `demo` for the embedded demo "
        "model, or `auto` for the largest StarCoder on disk that fits this machine.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
    dtype: Dtype = Field(
        "auto",
        description="Number format of the weights. `int8` and `int4` need a half and a third of "
        "the memory of `bfloat16` and decode faster on a CPU. `auto` uses them if the others do "
        "not fit.",
    )
    device: Device = Field(
        "auto", description="Where the model runs; `balanced` spreads it over GPUs and CPU."
    )
    draft_model: str | None = Field(
        None,
        description="Hub id, directory or GGUF file of a much smaller model of the same family for "
        "speculative decoding: the text stays the same and is generated faster. Useful for the "
        "largest StarCoders, such as `bigcode/starcoderbase-1b` for `bigcode/starcoder`.",
    )
    context_window: Annotated[int, Field(ge=64, le=_MAX_TOKENS)] | None = Field(
        None,
        description="Limits the model's context window, in tokens, to save memory; null uses all "
        "of it. For another project's server at `starcoder.engineUrl` that does not report its "
        "window, set its real size: null then means 2,048. `starcoder-lsp serve` is not limited.",
    )
    offline: bool = Field(False, description="Never connect to the hub.")
    idle_timeout_seconds: float = Field(
        1800.0,
        ge=0,
        le=_MAX_SECONDS,
        allow_inf_nan=False,
        strict=False,
        description="Seconds without a request after which the engine exits and frees its memory; "
        "0 means never.",
    )
    engine_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Address of an engine to use instead of one on this machine: another "
        "machine's `starcoder-lsp serve`, vLLM, or another server with OpenAI's API.",
    )
    engine_token: str | None = Field(
        None,
        description="Access token or your key for the engine at `starcoder.engineUrl`; it is sent "
        "as a bearer token. If it is null, the environment variable `STARCODER_LSP_ENGINE_TOKEN` "
        "of the language server's process counts.",
    )
    engine_model: str | None = Field(
        None,
        description="Name of the model to use at `starcoder.engineUrl`, exactly as `/v1/models` "
        "lists it there. null uses the first one. vLLM lists adapters as models too; those of "
        "`starcoder-lsp serve` are chosen with `starcoder.adapter`.",
    )
    tokenizer: str | None = Field(
        None,
        description="Directory of the model on this machine, or its GGUF file, for an engine at "
        "`starcoder.engineUrl` that does not provide its tokenizer: vLLM, llama.cpp's server and "
        "others do not, `starcoder-lsp serve` does. The tokenizer.json is read there, and, if "
        "there are such files, the prompt form (config.json) and the chat template.",
    )
    max_new_tokens: int = Field(
        128, ge=8, le=1024, description="Maximum length of a suggestion, in tokens."
    )
    max_prompt_tokens: int = Field(
        2048,
        ge=64,
        le=_MAX_TOKENS,
        description="Maximum length of the context around the cursor, in tokens.",
    )
    multiline: Literal["auto", "never"] = Field(
        "auto", description="Whether to suggest whole blocks at the start of a block."
    )
    prompt_form: Form | Literal["auto"] = Field(
        "auto",
        description="Order of the prompt. The middle begins with a `line` (the cursor's line or "
        "one of the seven lines above it) or at the `cursor`, or the text after the cursor comes "
        "first (`suffix-first`). `auto` uses the model's best form.",
    )
    adapter: str | None = Field(
        None,
        description="Name of an adapter that `starcoder-lsp tune` trained for this model.",
    )
    related_files: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Whether the prompt contains excerpts of other files of the project: "
        "definitions of imported names, and code that resembles the code at the cursor. `auto` "
        "includes them if the model's context window has at least 4,096 tokens.",
    )
    recent_edits: bool = Field(
        True,
        description="Whether the prompt also contains recent edits of open files that resemble the "
        "code at the cursor, with the lines before and after them. Never those with keys.",
    )
    diagnostics: bool = Field(
        True,
        description="Whether the prompt also contains the errors and warnings near the cursor that "
        "other tools report to the editor.",
    )
    project_memory: bool = Field(
        True,
        description="Keep an index of the project's text, in memory and on this machine, and use "
        "places that resemble the text before the cursor. Excluded and ignored files, keys, and "
        "e-mail and IP addresses are never part of it.",
    )
    eagerness: Eagerness = Field(
        "balanced",
        description="How confident the model must be before something is suggested "
        "automatically. `eager` shows almost every suggestion, `reserved` shows few wrong ones.",
    )
    debounce_ms: Annotated[int, Field(ge=0, le=5000)] | None = Field(
        None,
        description="Delay in milliseconds after a key before the model is asked; null adapts it "
        "to your typing and the model's speed.",
    )
    statistics: bool = Field(
        True,
        description="Count shown and accepted suggestions, on this machine only; see "
        "`starcoder-lsp stats`.",
    )
    chat_model: str = Field(
        "",
        description="Model for the chat and its tasks, such as writing tests: hub id, directory or "
        "`demo`. It runs in an engine of its own, which starts with the first question. Empty: "
        "`starcoder.model` serves both. With `starcoder.engineUrl`, the name of one of the models "
        "that are served there.",
    )
    chat_tokenizer: str | None = Field(
        None,
        description="The same as `starcoder.tokenizer`, for `starcoder.chatModel` at "
        "`starcoder.engineUrl`.",
    )
    chat_format: FormatName | Literal["auto"] = Field(
        "auto",
        description="Format of conversations in the prompt: `chatml` is the format of StarChat, "
        "`alpaca` that of models tuned on instructions, `own` uses the model's chat template, "
        "`plain` suits models that were not trained on conversations. `auto` uses the format that "
        "the model knows.",
    )
    chat_system: str = Field(
        "", max_length=4000, description="System message of every conversation."
    )
    chat_adapter: str | None = Field(
        None,
        description="Name of an adapter that `starcoder-lsp tune chat` trained. Chat uses it, "
        "completions do not.",
    )
    chat_max_new_tokens: int = Field(
        768, ge=16, le=4096, description="Maximum length of a chat answer, in tokens."
    )
    run_tests: Literal["ask", "always", "never"] = Field(
        "ask",
        description="Whether code that a model wrote may run, in a sandbox without network that "
        "cannot change your files: generated tests, and code blocks of chat answers. `ask` asks "
        "once per workspace. VS Code runs none in a workspace that you do not trust.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="How much to log. Logs never contain the text of documents."
    )

    @field_validator("*")
    @classmethod
    def _check_characters(cls, value: Any) -> Any:
        """Refuse the null character, which no path and no argument of a process may contain."""
        if any("\0" in text for text in (value if isinstance(value, tuple) else (str(value),))):
            raise PydanticCustomError("null_character", "it contains a null character")
        return value

    @field_validator("engine_token")
    @classmethod
    def _check_token(cls, token: str | None) -> str | None:
        """Refuse what the header of an HTTP request cannot contain."""
        if token is not None and not (token.isascii() and token.isprintable()):
            raise PydanticCustomError("token", "it has other characters than printable ASCII")
        return token

    @field_validator("engine_url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        """Refuse an address to which the HTTP client cannot connect."""
        if url is not None and (reason := _fault_of_url(url)):
            raise PydanticCustomError("url", "{reason}", {"reason": reason})
        return url

    @property
    def engine(self) -> EngineSettings:
        """The settings of an engine process on this machine."""
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
    def chat_engine(self) -> EngineSettings | None:
        """The settings of the engine process for chat on this machine; None if `engine` serves it.

        Revision, draft model and context window belong to the model of `engine`.
        """
        if self.chat_model in ("", self.model):
            return None
        return EngineSettings(
            model=self.chat_model,
            dtype=self.dtype,
            device=self.device,
            offline=self.offline,
            idle_timeout_s=self.idle_timeout_seconds,
        )

    @property
    def fim(self) -> FimSettings:
        """The settings of completions."""
        return FimSettings(
            max_new_tokens=self.max_new_tokens,
            max_prompt_tokens=self.max_prompt_tokens,
            multiline=self.multiline,
            form=self.prompt_form,
            adapter=self.adapter,
            eagerness=self.eagerness,
            related_files=self.related_files,
            recent_edits=self.recent_edits,
            diagnostics=self.diagnostics,
            project_memory=self.project_memory,
        )

    @property
    def chat(self) -> ChatSettings:
        """The settings of chat."""
        return ChatSettings(
            system=self.chat_system,
            format_name=None if self.chat_format == "auto" else self.chat_format,
            adapter=self.chat_adapter,
            max_new_tokens=self.chat_max_new_tokens,
        )


def _fault_of_url(url: str) -> str:
    """Return why an engine cannot have this address, an empty text if it can."""
    try:
        parsed = httpx2.URL(url)
        parsed.host.encode("idna")
    except (httpx2.InvalidURL, UnicodeError) as error:
        return str(error)
    if not parsed.host or any(character.isspace() for character in url):
        return "it names no host, or contains a space"
    if parsed.port is not None and not 0 < parsed.port < 65536:
        return f"there is no port {parsed.port}"
    return "it has a query or a fragment" if parsed.query or parsed.fragment else ""


_BY_NAME = {str(field.alias): field for field in Settings.model_fields.values()}
"""The settings by their camelCase names."""
_TEXT_LISTS = frozenset(
    name for name, field in _BY_NAME.items() if field.annotation == tuple[str, ...]
)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and the problems in the value that the client sent."""

    settings: Settings
    problems: tuple[str, ...]
    """One sentence per value that could not be used."""


def resolve(members: Mapping[str, Any]) -> Resolved:
    """Return the settings with these values, and a problem for every value that cannot be used.

    The names are in camelCase. A null means the default; so does an empty text if the default is
    null, because that is what an emptied input field of an editor contains. Of a list, only the
    entries that cannot be used are dropped.
    """
    problems = [_unknown(name) for name, value in members.items() if not _is_known(name, value)]
    values: dict[str, Any] = {}
    for name, value in members.items():
        if not is_setting(name) or value is None or (value == "" and default_of(name) is None):
            continue
        values[name] = value
        if name in _TEXT_LISTS and isinstance(value, list | tuple):
            values[name], wrong = _usable_entries(name, value)
            problems += wrong
    # Each round drops the keys that failed and validates the others again.
    while True:
        try:
            return Resolved(Settings.model_validate(values), tuple(problems))
        except ValidationError as error:
            for key in sorted({str(detail["loc"][0]) for detail in error.errors()}):
                problems.append(_problem(key, values.pop(key), error))


def is_setting(name: str) -> bool:
    """Whether there is a setting with this camelCase name."""
    return name in _BY_NAME


def resembling(name: str) -> str | None:
    """Return the setting whose name resembles a wrong one, None if there is none."""
    matches = get_close_matches(to_camel(name.replace("-", "_")), _BY_NAME, 1, 0.75)
    return matches[0] if matches else None


def _is_known(name: str, value: Any) -> bool:
    return value is None or is_setting(name)


def _unknown(name: str) -> str:
    similar = resembling(name)
    hint = f"did you mean {SECTION}.{similar}?" if similar else "it is ignored."
    return f"{SECTION}.{name} is not a setting; {hint}"


def _usable_entries(name: str, entries: Any) -> tuple[tuple[str, ...], list[str]]:
    """Return the entries of a list of texts that can be used, and problems with the others."""
    faults = [(entry, _fault_of_entry(name, entry)) for entry in entries]
    problems = [
        f"{SECTION}.{name} contains {repr(entry)[:80]}: {fault}. This entry is skipped."
        for entry, fault in faults
        if fault
    ]
    return tuple(entry for entry, fault in faults if not fault), problems


def _fault_of_entry(name: str, entry: Any) -> str:
    """Return why an entry of a list cannot be used, an empty text if it can."""
    if not isinstance(entry, str):
        return "it is not a text"
    if "\0" in entry:
        return "it contains a null character"
    if name == "exclude":
        try:
            check_pattern(entry)
        except PatternError as error:
            return f"it is no pattern of .gitignore, because {error}"
    return ""


def _problem(key: str, value: Any, error: ValidationError) -> str:
    detail = next(detail for detail in error.errors() if str(detail["loc"][0]) == key)
    shown = "…" if key == "engineToken" else repr(value)[:80]
    default = default_of(key)
    return f"{SECTION}.{key} = {shown}: {detail['msg']}. The default {default!r} is used."


def default_of(key: str) -> Any:
    """Return the default of a setting by its camelCase name."""
    return _BY_NAME[key].default


def schema() -> dict[str, Any]:
    """Return the JSON schema of the settings, for an editor's manifest."""
    return Settings.model_json_schema(by_alias=True)

"""Fields of OpenAI's API and of other servers that this engine does not implement.

A field that would change the form of the answer is refused, because its client would misread the
answer, as llama.cpp refuses `best_of`. A field that cannot matter here is accepted. Every other one
is ignored and named in a header of the response: vLLM first refused unknown fields, which many
clients send, and then wrote them to its log, which their users cannot see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from engine.errors import RequestError

IGNORED_HEADER = "X-Starcoder-Ignored"
"""Header of a response that lists the ignored fields of its request."""

_MAX_NAMES = 20
"""Number of names in the header; a request may have thousands."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class RefusedField:
    """A field that is refused, unless its value changes nothing."""

    neutral: tuple[object, ...]
    """Values that mean the same as no field; None is always one of them."""
    advice: str


_ONE_OUTPUT = "The engine returns one output per prompt; send several requests."
_NO_TOOLS = "The engine calls no tools; describe them in a message."
_NO_FORMAT = "The engine does not constrain the output; ask for the format in a message."
_NO_AUDIO = "The engine writes text only."

REFUSED: Mapping[str, RefusedField] = {
    "best_of": RefusedField((1,), _ONE_OUTPUT),
    "use_beam_search": RefusedField((False,), _ONE_OUTPUT),
    "suffix": RefusedField(
        ("",),
        "A conversation has no text after it; send prompt and suffix to /v1/completions.",
    ),
    "tools": RefusedField(([],), _NO_TOOLS),
    "tool_choice": RefusedField(("none", "auto"), _NO_TOOLS),
    "functions": RefusedField(([],), _NO_TOOLS),
    "function_call": RefusedField(("none", "auto"), _NO_TOOLS),
    "response_format": RefusedField(({"type": "text"},), _NO_FORMAT),
    "structured_outputs": RefusedField((), _NO_FORMAT),
    "guided_json": RefusedField((), _NO_FORMAT),
    "guided_regex": RefusedField((), _NO_FORMAT),
    "guided_choice": RefusedField((), _NO_FORMAT),
    "guided_grammar": RefusedField((), _NO_FORMAT),
    "grammar": RefusedField(("",), _NO_FORMAT),
    "json_schema": RefusedField(({},), _NO_FORMAT),
    "logit_bias": RefusedField(({}, []), "The engine does not change the probabilities of tokens."),
    "modalities": RefusedField((["text"],), _NO_AUDIO),
    "audio": RefusedField((), _NO_AUDIO),
}
"""The refused fields of OpenAI's API, of vLLM and of llama.cpp."""

HARMLESS = frozenset(
    {
        "user",
        "store",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prediction",
        "parallel_tool_calls",
        "cache_prompt",
    }
)
"""Fields that do not change what the client receives: they concern accounts, speed or tools."""

NEUTRAL: Mapping[str, object] = {"presence_penalty": 0, "frequency_penalty": 0, "min_p": 0}
"""Ignored fields that many clients always send, and the value with which they have no effect."""


def check_fields(
    extra: Mapping[str, object],
    refused: Mapping[str, RefusedField] = REFUSED,
    harmless: frozenset[str] = HARMLESS,
) -> list[str]:
    """Return the names of the ignored fields of a request; raises RequestError for refused ones.

    `extra` contains the fields that the request's type does not have. `refused` and `harmless` are
    the fields of the API that the request uses.
    """
    ignored = []
    for name, value in extra.items():
        if value is None or name in harmless or (name in NEUTRAL and value == NEUTRAL[name]):
            continue
        field = refused.get(name)
        if field is None:
            ignored.append(name)
        elif value not in field.neutral:
            raise RequestError(f"The field {name!r} is not supported. {field.advice}")
    return ignored


def report_ignored(response: Response, names: Sequence[str]) -> Response:
    """Name the ignored fields in a response's header; a name that no header can contain is `?`."""
    if names:
        shown = [name if _NAME.fullmatch(name) else "?" for name in names[:_MAX_NAMES]]
        more = ["..."] if len(names) > _MAX_NAMES else []
        response.headers[IGNORED_HEADER] = ", ".join(shown + more)
    return response

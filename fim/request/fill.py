"""Fill a hole with what the model writes: no cache, no cutting, no waiting around it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from engine.api import Engine, GenerationRequest
from fim.completer import FimSettings
from fim.prompt import build as prompting
from fim.prompt.families import detect
from fim.snapshot import Snapshot


async def fill(
    engine: Engine, settings: FimSettings, snapshot: Snapshot, stop_text: tuple[str, ...] = ()
) -> str:
    """Return what stands at the cursor for the model, greedily, up to one of the strings.

    Raises UnsupportedModelError for a model without fill-in-the-middle, or what the engine raises.
    """
    tokenizer, info = await engine.tokenizer(), await engine.info()
    family = detect(tokenizer)
    room = min(settings.max_new_tokens, info.context_window // 2)
    limit = min(settings.max_prompt_tokens, info.context_window - room)
    own = next((form for form in prompting.FORMS if form == info.fim_form), prompting.DEFAULT_FORM)
    form = own if settings.form == "auto" else settings.form
    prompt = await asyncio.to_thread(
        prompting.build, snapshot, family, tokenizer.encode, limit, form
    )
    request = GenerationRequest(
        prompt.ids, room, stop_ids=family.stop_ids, stop_text=stop_text, adapter=settings.adapter
    )
    text = ""
    async with aclosing(engine.stream(request)) as stream:
        async for chunk in stream:
            text += chunk.text
    return text

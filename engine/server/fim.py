"""Fill-in-the-middle for clients. The function that renders prompts is passed to the app."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request

from engine.api import Engine, FimText, RenderedFim
from engine.errors import RequestError
from engine.server.users.threads import in_thread
from engine.tokenizer import Tokenizer

RenderFim = Callable[[FimText, Tokenizer, str, int], RenderedFim]
"""Function that renders text to a prompt for fill-in-the-middle.

Its further arguments are the tokenizer, the form that the model fills best
(`engine.api.EngineInfo.fim_form`), and the maximum number of tokens, to which it cuts the text.
Raises RequestError for a model without tokens for fill-in-the-middle.
"""


async def rendered_fim(
    request: Request, tokenizer: Tokenizer, text: FimText, max_new_tokens: int
) -> RenderedFim:
    """Return the prompt for fill-in-the-middle that leaves room for the output.

    Of a long output, at most half of the context window is reserved. Raises RequestError if the
    engine or the model cannot fill in.
    """
    render: RenderFim | None = request.app.state.render_fim
    if render is None:
        raise RequestError("This engine was started without a FIM renderer (--fim-renderer).")
    engine: Engine = request.app.state.engine
    info = await engine.info()
    room = info.context_window - min(max(1, max_new_tokens), info.context_window // 2)
    return await in_thread(render, text, tokenizer, info.fim_form, room)

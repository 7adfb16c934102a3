"""Checks that the tokenizer that the settings name is that of the server's model.

With the tokenizer of another model, token ids mean other text, and the output is nonsense without
any error. vLLM and llama.cpp's server report the ids of a text at `/tokenize`; for other servers
nothing is checked.
"""

from __future__ import annotations

import httpx2

from engine.client.remote_model import RemoteModel
from engine.errors import ConfigurationError
from engine.tokenizer import Tokenizer

_SAMPLE = "def first(items, default=None):\n    return items[0] if items else default\n"
_LIMIT_S = 5.0


async def check_tokenizer(
    http: httpx2.AsyncClient, tokenizer: Tokenizer, model: str, choice: RemoteModel
) -> None:
    """Raise ConfigurationError if the server's ids mean another text in this tokenizer.

    The ids need not be equal: servers add a start token or a space.
    """
    ids = await _ids_of_server(http, model)
    if ids is None or _means_sample(tokenizer, ids):
        return
    raise ConfigurationError(
        f"The tokenizer in {choice.tokenizer} is not that of the model {model}. Set "
        f"starcoder.{choice.tokenizer_setting} to the directory of this model."
    )


async def _ids_of_server(http: httpx2.AsyncClient, model: str) -> list[int] | None:
    """Return the server's token ids for the sample, None if it does not report them."""
    # Each server reads its own names: vLLM `prompt`, llama.cpp `content`.
    body = {"model": model, "prompt": _SAMPLE, "content": _SAMPLE}
    try:
        response = await http.post("/tokenize", json=body, timeout=_LIMIT_S)
        answer = response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, ValueError, RecursionError):
        return None
    ids = answer.get("tokens") if isinstance(answer, dict) else None
    is_usable = isinstance(ids, list) and all(type(id_) is int and id_ >= 0 for id_ in ids)
    return ids if is_usable and ids else None


def _means_sample(tokenizer: Tokenizer, ids: list[int]) -> bool:
    if max(ids) >= tokenizer.vocab_size:
        return False
    return tokenizer.decode(ids).strip() == _SAMPLE.strip()

"""Token healing: the model rewrites the partial token before the cursor.

A tokenizer splits `impo` into `imp` and `o`, but `import` is one token. So a model has hardly ever
seen `rt` after these two. Therefore the prompt leaves out text that may be the beginning of a
token, and the output must begin with it (`GenerationRequest.forced_prefix`). The same holds for a
space, with which the token of the next word begins, and for `(`, with which `()` begins.
"""

from __future__ import annotations

import re

_PARTIAL_TOKEN = re.compile(r"(?: ?[^\W\d_]+| ?(?:[^\w\s]|_)+|[ \t])$")
"""The pieces that byte-level tokenizers never split before they merge (Radford et al. 2019, GPT-2).

They are a word or a sequence of signs, with the space before it. Digits are tokens of their own.
"""

_MAX_CHARACTERS = 40


def partial_token(line_before: str) -> str:
    """Return the end of the cursor's line that may be the beginning of one token.

    It is empty if the line is only indentation, because that is a token of its own.
    """
    if not line_before.strip():
        return ""
    match = _PARTIAL_TOKEN.search(line_before[-_MAX_CHARACTERS:])
    return match[0] if match else ""

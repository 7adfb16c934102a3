"""Token healing: the half-typed word is left to the model to write.

`impo` is `imp` and `o` to a tokenizer, and `import` is one token: after the two a model hardly ever
saw `rt`. So the prompt leaves out what may be the beginning of a token, and the answer must begin
with it (`GenerationRequest.forced_prefix`). The same goes for a space, which is the beginning of
the next
word's token, and for `(`, which may be that of `()`.
"""

from __future__ import annotations

import re

_LAST = re.compile(r"(?: ?[^\W\d_]+| ?(?:[^\w\s]|_)+|[ \t])$")
"""What byte-level tokenizers never divide further before they merge (Radford et al. 2019, GPT-2):
a word, or signs, with the space before. Digits are tokens of their own."""

_MOST = 40


def partial_token(line: str) -> str:
    """Return what the cursor's line ends with that may be the beginning of one token.

    Nothing where nothing but indentation is typed: that is the token before.
    """
    found = _LAST.search(line[-_MOST:]) if line.strip() else None
    return found[0] if found else ""

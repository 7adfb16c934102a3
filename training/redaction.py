"""Replace personal data and secrets in source text with StarCoder's placeholders.

StarCoder (Li et al. 2023, arXiv:2305.06161, 4) trained a tagger. The patterns here are those of
SantaCoder, its predecessor (Ben Allal et al. 2023, arXiv:2301.03988, 4.2): regular expressions for
e-mail and IP addresses, and detect-secrets for keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fim.secrets import (
    EMAIL_ADDRESS,
    EXAMPLE_ADDRESS,
    IPV4_ADDRESS,
    is_public_address,
    secrets_in,
)

EMAIL, IP_ADDRESS, KEY = "<EMAIL>", "<IP_ADDRESS>", "<KEY>"

_PRIVATE_KEY_BODY = re.compile(
    r"(?<=PRIVATE KEY-----)[A-Za-z0-9+/=\\\s\"',:-]{64,}?(?=-----END)", re.DOTALL
)


def redact(text: str, counts: dict[str, int]) -> str:
    """Return the text with placeholders for e-mail and IP addresses and keys; count each kind."""

    def count(placeholder: str) -> str:
        counts[placeholder] = counts.get(placeholder, 0) + 1
        return placeholder

    def replace_email(match: re.Match[str]) -> str:
        return match[0] if EXAMPLE_ADDRESS.search(match[0]) else count(EMAIL)

    def replace_address(match: re.Match[str]) -> str:
        return count(IP_ADDRESS) if is_public_address(match[0]) else match[0]

    text = IPV4_ADDRESS.sub(replace_address, EMAIL_ADDRESS.sub(replace_email, text))
    for secret in sorted(set(_secrets(text)), key=len, reverse=True):
        # Some detectors report only the first part of a token; the rest of the word belongs to it.
        text = re.sub(re.escape(secret) + r"[A-Za-z0-9_]*", lambda _: count(KEY), text)
    return text


def _secrets(text: str) -> Iterator[str]:
    # For a private key the detector reports only the first line, which is not secret.
    yield from (secret for secret in secrets_in(text) if "PRIVATE KEY" not in secret)
    yield from (match[0] for match in _PRIVATE_KEY_BODY.finditer(text))

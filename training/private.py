"""Personal data and secrets in source text become StarCoder's placeholders.

StarCoder (Li et al. 2023, arXiv:2305.06161, 4) trained a tagger; the patterns here are those of
its forerunner SantaCoder (Ben Allal et al. 2023, arXiv:2301.03988, 4.2): expressions for e-mail
and IP addresses, and detect-secrets for keys.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import cache

from fim.secrets import secrets_in

EMAIL, IP_ADDRESS, KEY = "<EMAIL>", "<IP_ADDRESS>", "<KEY>"

_EMAIL = re.compile(r"(?<![\w.+/-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b(?![\w(])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]|\.\d)")

# Both may be in any example: they belong to nobody.
_NO_EMAIL = re.compile(r"@(example|test|localhost|domain|email|foo|bar)\b|noreply", re.IGNORECASE)


def redact(text: str, counts: dict[str, int]) -> str:
    """Return the text with placeholders for e-mail and IP addresses and keys; count each kind."""

    def replaced(placeholder: str) -> str:
        counts[placeholder] = counts.get(placeholder, 0) + 1
        return placeholder

    def email(found: re.Match[str]) -> str:
        return found[0] if _NO_EMAIL.search(found[0]) else replaced(EMAIL)

    def address(found: re.Match[str]) -> str:
        return replaced(IP_ADDRESS) if _is_somebodys(found[0]) else found[0]

    text = _IPV4.sub(address, _EMAIL.sub(email, text))
    for secret in sorted(set(_secrets(text)), key=len, reverse=True):
        # Some detectors give only the first part of a token; the rest of the word goes with it.
        text = re.sub(re.escape(secret) + r"[A-Za-z0-9_]*", lambda _: replaced(KEY), text)
    return text


@cache
def _is_somebodys(address: str) -> bool:
    """Whether it is a public address: version numbers, local and documentation ones are not."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _secrets(text: str) -> Iterator[str]:
    # Of a private key the detector gives the first line, which is no secret; its body follows.
    yield from (found for found in secrets_in(text) if "PRIVATE KEY" not in found)
    yield from (found[0] for found in _PRIVATE_KEY.finditer(text))


_PRIVATE_KEY = re.compile(
    r"(?<=PRIVATE KEY-----)[A-Za-z0-9+/=\\\s\"',:-]{64,}?(?=-----END)", re.DOTALL
)

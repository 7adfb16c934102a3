"""Personal data and secrets in source text become StarCoder's placeholders.

StarCoder (Li et al. 2023, arXiv:2305.06161, 4) trained a tagger; the patterns here are those of
its forerunner SantaCoder (Ben Allal et al. 2023, arXiv:2301.03988, 4.2): expressions for e-mail
and IP addresses, and detect-secrets for keys.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache

from detect_secrets.core import scan
from detect_secrets.settings import transient_settings

EMAIL, IP_ADDRESS, KEY = "<EMAIL>", "<IP_ADDRESS>", "<KEY>"

_EMAIL = re.compile(r"(?<![\w.+/-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b(?![\w(])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]|\.\d)")

# Both may be in any example: they belong to nobody.
_NO_EMAIL = re.compile(r"@(example|test|localhost|domain|email|foo|bar)\b|noreply", re.IGNORECASE)

_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_.-]{20,}|-----BEGIN")
_DETECTORS = (
    "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "DiscordBotTokenDetector",
    "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "MailchimpDetector",
    "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector",
    "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TwilioKeyDetector",
)  # fmt: skip
"""Detectors of keys by their form. Those that go by entropy alone would take hashes and tables."""


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
    lines = [line for line in text.splitlines() if _LONG_WORD.search(line)]
    if not lines:
        return
    for line in lines:
        for found in scan.scan_line(line):
            if found.secret_value and found.type != "Private Key":
                yield found.secret_value
    yield from _private_keys(text)


_PRIVATE_KEY = re.compile(
    r"(?<=PRIVATE KEY-----)[A-Za-z0-9+/=\\\s\"',:-]{64,}?(?=-----END)", re.DOTALL
)


def _private_keys(text: str) -> Iterator[str]:
    for found in _PRIVATE_KEY.finditer(text):
        yield found[0]


def detectors() -> AbstractContextManager[object]:
    """Return the context in which `redact` finds keys: the chosen detectors of detect-secrets."""
    context: AbstractContextManager[object] = transient_settings(
        {"plugins_used": [{"name": name} for name in _DETECTORS]}
    )
    return context

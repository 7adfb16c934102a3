"""Detection of keys, access tokens and personal data, in suggestions and training text.

Keys are found with detect-secrets. Only detectors that match a fixed format are used. Detectors by
entropy would also match hashes and tables.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

PLACEHOLDERS = ("<KEY>", "<EMAIL>", "<NAME>", "<PASSWORD>", "<IP_ADDRESS>", "<USER>")
"""Placeholders for personal data in StarCoder's training data; a model may generate them."""

_DETECTORS = (
    "ArtifactoryDetector",
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "DiscordBotTokenDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "JwtTokenDetector",
    "MailchimpDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "SquareOAuthDetector",
    "StripeDetector",
    "TwilioKeyDetector",
)

EMAIL_ADDRESS = re.compile(r"(?<![\w.+/-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b(?![\w(])")
EXAMPLE_ADDRESS = re.compile(
    r"@(example|test|localhost|domain|email|foo|bar)\b|noreply", re.IGNORECASE
)
"""E-mail addresses that are common in examples and belong to nobody."""
IPV4_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]|\.\d)")

_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_.-]{20,}|-----BEGIN")
"""Pattern that every key matches. The detectors are slow, so other lines are skipped."""


def detectors() -> AbstractContextManager[Any]:
    """Return a context manager that enables the detectors for `secrets_in`."""
    from detect_secrets.settings import transient_settings

    plugins = [{"name": name} for name in _DETECTORS]
    context: AbstractContextManager[Any] = transient_settings({"plugins_used": plugins})
    return context


@cache
def key_patterns() -> tuple[re.Pattern[str], ...]:
    """Return the patterns of all detectors.

    They need no settings, so any thread may use them. They match more than `secrets_in` reports,
    which leaves out what is certainly an example.
    """
    from detect_secrets.core.plugins.initialize import from_plugin_classname

    plugins = [from_plugin_classname(name) for name in _DETECTORS]
    return tuple(pattern for plugin in plugins for pattern in plugin.denylist)


def secrets_in(text: str) -> Iterator[str]:
    """Yield the keys in the lines of a text, or the part of each key that the detector matches."""
    for line in text.splitlines():
        if _LONG_WORD.search(line):
            from detect_secrets.core import scan

            for secret in scan.scan_line(line):
                if secret.secret_value:
                    yield secret.secret_value


def adds_secret(text: str, before: str) -> bool:
    """Return whether a line contains a key that its part `before` does not contain already.

    `text` is the rest of the line.
    """
    if not _LONG_WORD.search(before + text):
        return False
    with detectors():
        return bool(set(secrets_in(before + text)) - set(secrets_in(before)))


def has_secret(text: str) -> bool:
    """Return whether a text contains a key or an access token."""
    if not _LONG_WORD.search(text):
        return False
    with detectors():
        return next(secrets_in(text), None) is not None


@cache
def is_public_address(address: str) -> bool:
    """Whether a text is a public address, not a version number or a local address."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False

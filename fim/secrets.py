"""What looks like a key or a token, by detect-secrets; used on suggestions and on training text.

Only detectors that know a key by its form are asked: those by entropy would take hashes and tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

PLACEHOLDERS = ("<KEY>", "<EMAIL>", "<NAME>", "<PASSWORD>", "<IP_ADDRESS>", "<USER>")
"""What StarCoder's training data had in place of personal data; a model may write them."""

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

_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_.-]{20,}|-----BEGIN")
"""No key is shorter; the detectors are slow, and few lines have one."""


def detectors() -> AbstractContextManager[Any]:
    """Return the context in which `secrets_in` finds something."""
    from detect_secrets.settings import transient_settings

    chosen = [{"name": name} for name in _DETECTORS]
    context: AbstractContextManager[Any] = transient_settings({"plugins_used": chosen})
    return context


def secrets_in(text: str) -> Iterator[str]:
    """Yield what detectors find in the lines of a text: keys, or their telling first part."""
    for line in text.splitlines():
        if _LONG_WORD.search(line):
            from detect_secrets.core import scan

            for found in scan.scan_line(line):
                if found.secret_value:
                    yield found.secret_value


def holds_secret(text: str) -> bool:
    """Whether a text has something in it that should not be shown."""
    if not _LONG_WORD.search(text):
        return False
    with detectors():
        return next(secrets_in(text), None) is not None

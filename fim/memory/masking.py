"""Hides keys and personal data in text, at a rate of several million characters per second."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from fim.memory.suffix_index import SEPARATOR
from fim.secrets import (
    EMAIL_ADDRESS,
    EXAMPLE_ADDRESS,
    IPV4_ADDRESS,
    is_public_address,
    key_patterns,
)

MAX_LINE_CHARACTERS = 5_000
"""Maximum characters of a line that is indexed. A longer one is data, and is hidden too."""

_CHUNK_CHARACTERS = 8_000
"""Characters after which other threads may run. They do not while a pattern is searched."""
_PAUSE_S = 0.0001

_SUSPICIOUS = re.compile(
    r"[A-Za-z0-9+/=_-]{20}|@|\d\.\d+\.\d+\.\d|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]*:"
    r"|AKC[A-Za-z0-9]{10}|AP[\dA-F][A-Za-z0-9]{8}|[xX][oO][xX].-|eyJ|_authToken|PRIVATE KEY|PuTTY-"
)
"""Pattern that some part of every key and address matches. Other lines are not looked at."""
_IPV6_ADDRESS = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:.])")
"""Addresses that can be public begin like this."""
_KEY_START = re.compile(r"PRIVATE KEY|PuTTY-User-Key-File")
_KEY_BODY = re.compile(r"[^\n]*[-A-Za-z0-9+/=\\\s\"',:.()]*")
"""The rest of a private key's first line, and what follows up to a character that none contains."""
_ARTIFACTORY = re.compile(r"\b(?:AKC[A-Za-z0-9]{10,}|AP[\dA-F](?=[A-Za-z]*\d)[A-Za-z0-9]{8,})")
"""Tokens that detect-secrets finds only next to a space or a double quote."""
_ENCODED = re.compile(r"[A-Za-z0-9+/]{60,}={0,2}")
"""Encoded bytes, perhaps a part of a key."""
_REST_OF_WORD = re.compile(r"[\w+/=-]*")


def mask(text: str) -> str:
    """Return a text with a separator in place of each character of a key or personal data.

    Offsets stay the same. Lines must end with `\\n`.
    """
    pieces: list[str] = []
    end = 0
    for start, stop in sorted(_spans(text)):
        if stop > end:
            start = max(start, end)
            pieces += (text[end:start], SEPARATOR * (stop - start))
            end = stop
    return "".join([*pieces, text[end:]]) if pieces else text


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        stop = _line_end(text, start + _CHUNK_CHARACTERS)
        chunk = text[start:stop]
        if max(map(len, chunk.split("\n"))) > MAX_LINE_CHARACTERS:
            yield from _spans_with_long_lines(text, start, stop)
        else:
            yield from _spans_in_chunk(text, start, stop)
        start = stop
        if start < len(text):
            time.sleep(_PAUSE_S)


def _spans_with_long_lines(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        end = _line_end(text, start)
        if end - start > MAX_LINE_CHARACTERS:
            yield start, end
        else:
            yield from _spans_in_chunk(text, start, end)
        start = end


def _spans_in_chunk(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the spans to hide in whole lines; those of a private key reach beyond its line."""
    while match := _SUSPICIOUS.search(text, start, stop):
        line_start = text.rfind("\n", 0, match.start()) + 1
        start = _line_end(text, match.start())
        line = text[line_start:start]
        for first, last in _spans_in_line(line):
            yield line_start + first, line_start + last
        if key := _KEY_START.search(line):
            body = _KEY_BODY.match(text, line_start + key.start())
            yield line_start + key.start(), body.end() if body else start


def _spans_in_line(line: str) -> Iterator[tuple[int, int]]:
    for pattern in (*key_patterns(), _ARTIFACTORY, _ENCODED):
        for match in pattern.finditer(line):
            rest = _REST_OF_WORD.match(line, match.end())
            yield match.start(), rest.end() if rest else match.end()
    if "@" in line:
        for match in EMAIL_ADDRESS.finditer(line):
            if not EXAMPLE_ADDRESS.search(match[0]):
                yield match.span()
    for pattern in (IPV4_ADDRESS, _IPV6_ADDRESS):
        for match in pattern.finditer(line):
            if is_public_address(match[0]):
                yield match.span()


def _line_end(text: str, start: int) -> int:
    """Return the offset after the first line ending from `start` on."""
    return text.find("\n", start) + 1 or len(text)

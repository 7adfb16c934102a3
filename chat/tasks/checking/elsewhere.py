"""Leaves out tests that pass only now, or only on this machine.

Expected values are observed in one time zone, and the tests are checked in another. What depends on
the zone then fails. For the languages in which no other date can be shown to a program, nothing is
observed if the function itself names the clock or a random number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from chat.tasks.dialects.base import Snippet, Subject
from sandbox.command import PRIVATE_FOLDER

OBSERVING_ENVIRONMENT = {"TZ": "Asia/Kathmandu"}
"""A zone that is 5 hours and 45 minutes from UTC."""
_CHANGING = {
    "go": r"\btime\.(?:Now|Since|Until)\b|\brand\.|\bos\.(?:Getpid|Getppid|Hostname|Getuid)\b",
    "rust": r"\b(?:SystemTime|Instant|Utc|Local|OffsetDateTime)::now\w*|\brand::|\bprocess::id\b"
    r"|\bRandomState\b|\bHash(?:Set|Map)\b[^;]*\.(?:iter|keys|values)\(\)\.next\(",
    "java": r"\b(?:Local(?:Date|Time|DateTime)|ZonedDateTime|OffsetDateTime|Instant|Year|YearMonth"
    r"|Clock)\.(?:now\(\s*\)|system\w*)|\bnew\s+(?:Date|GregorianCalendar|Random)\(\s*\)"
    r"|\bSystem\.(?:currentTimeMillis|nanoTime|identityHashCode)\b|\bMath\.random\b"
    r"|\bCalendar\.getInstance\b|\bThreadLocalRandom\b|\bUUID\.randomUUID\b",
}
_MIN_PARTS = 3


def changes_by_itself(subject: Subject) -> bool:
    """Whether the result of a subject seems to depend on the time or on a random number."""
    pattern = _CHANGING.get(subject.language)
    return pattern is not None and re.search(pattern, subject.symbol.dedented) is not None


def without_folders(tests: Iterable[Snippet], subject: Subject) -> tuple[Snippet, ...]:
    """Return the tests that name neither a folder of the sandbox nor the place of the project."""
    parts = subject.path.parent.parts[:_MIN_PARTS]
    place = "/".join([parts[0].rstrip("/"), *parts[1:]])
    folders = [PRIVATE_FOLDER, *([place] if len(parts) == _MIN_PARTS else [])]
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(folder)}" for folder in folders))
    return tuple(test for test in tests if not pattern.search(test.text))

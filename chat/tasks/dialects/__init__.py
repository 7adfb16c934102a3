"""Tests as each framework writes them: how they begin, which are whole, where they go."""

from __future__ import annotations

from chat.tasks.conventions import Framework
from chat.tasks.dialects.base import Dialect
from chat.tasks.dialects.go import Go
from chat.tasks.dialects.java import JUnit
from chat.tasks.dialects.javascript import JavaScript
from chat.tasks.dialects.python import Pytest, Unittest
from chat.tasks.dialects.rust import Cargo

DIALECTS: dict[Framework, Dialect] = {
    "pytest": Pytest(),
    "unittest": Unittest(),
    "jest": JavaScript("jest", None),
    "vitest": JavaScript("vitest", "vitest"),
    "node": JavaScript("node:test", "node:test"),
    "go": Go(),
    "cargo": Cargo(),
    "junit5": JUnit("JUnit 5", "org.junit.jupiter.api"),
    "junit4": JUnit("JUnit 4", "org.junit"),
}
"""By framework."""

"""The log's formatter prints nothing that can contain text of the user."""

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.logs import PrivateFormatter

MARKER = "Zanzibar"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrivateFormatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def fail() -> None:
    try:
        raise KeyError(MARKER)
    except KeyError as error:
        raise ExceptionGroup(MARKER, [ValueError(MARKER), OSError(28, MARKER, MARKER)]) from error


def test_an_exception_is_its_types_and_locations(output: io.StringIO) -> None:
    try:
        fail()
    except ExceptionGroup as error:
        logging.getLogger("engine.x").error("it failed", exc_info=error)
        logging.getLogger("library").exception("failed with %s", MARKER)
    text = output.getvalue()
    assert MARKER not in text
    for part in ("it failed", "KeyError", "ValueError", "OSError: No space left", "ExceptionGroup"):
        assert part in text
    assert text.count("tests/engine/test_logs.py:") > 3
    assert "in fail" in text
    assert text.splitlines()[-1] == "ExceptionGroup"  # the exception itself comes last


def test_a_missing_module_is_named(output: io.StringIO) -> None:
    try:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        logging.getLogger("engine.x").error("cannot start", exc_info=error)
    assert output.getvalue().endswith("ModuleNotFoundError: no_such_module\n")


def test_an_exception_in_our_own_message_is_its_type(output: io.StringIO) -> None:
    log = logging.getLogger("lsp_server.session.x")
    log.error("not written: %s", ValueError(MARKER))
    log.error(ValueError(MARKER))
    log.error("%(why)s", {"why": "named"})
    log.error("read %d of %s", 3, "five")
    log.error("100 %")
    text = output.getvalue()
    assert MARKER not in text
    for part in ("not written: ValueError", "read 3 of five", "named", "100 %"):
        assert part in text


@pytest.mark.parametrize("name", ["pygls.protocol", "asyncio", "root", "enginex", ""])
def test_a_message_of_a_library_is_its_template_and_location(
    output: io.StringIO, name: str
) -> None:
    log = logging.getLogger(name)
    log.error("Failed to handle %s", MARKER)
    log.error(f"an f-string with {MARKER}")  # as libraries do
    log.error("%(a)s", {"a": MARKER})
    text = output.getvalue()
    assert MARKER not in text
    assert "Failed to handle %s (tests/engine/test_logs.py:" in text
    assert text.count("test_logs.py:") == 3


def test_uncaught_exceptions_and_warnings_go_through_the_formatter() -> None:
    script = f"""
import logging, sys, threading, warnings
from engine.logs import set_up_logging
set_up_logging(logging.StreamHandler(sys.stderr), logging.DEBUG)
warnings.warn("{MARKER}")
logging.getLogger("engine").error("%d", "{MARKER}")
def fail(): raise ValueError("{MARKER}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
class Broken:
    def __del__(self): fail()
Broken()
fail()
"""
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert MARKER not in process.stderr
    assert process.stderr.count("ValueError") == 3
    assert "py.warnings" in process.stderr

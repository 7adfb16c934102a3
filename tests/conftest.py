"""Fixtures for all tests, and a plugin that limits which tests may be skipped."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from engine.machine import configure_threads

configure_threads()  # before torch is imported, as in the engine process

from tests.checkpoint_maker import make_checkpoint  # noqa: E402

# A deadline per example fails on a busy machine. pytest-timeout limits each test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# The tests of `sandbox`, and all that run something in it, use the bwrap that make installs.
BUBBLEWRAP = Path(__file__).parents[1] / ".editors/bubblewrap/bin"
if shutil.which("bwrap") is None and BUBBLEWRAP.exists():
    os.environ["PATH"] += f"{os.pathsep}{BUBBLEWRAP}"

# So do the tests that run generated tests in Go.
GO = Path(__file__).parents[1] / ".editors/go/bin"
if shutil.which("go") is None and GO.exists():
    os.environ["PATH"] += f"{os.pathsep}{GO}"

OPTIONAL = "optional: "
"""Prefix of the reasons with which a test may be skipped in CI: it needs optional equipment."""


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with StarCoder's architecture, random weights and 512 positions."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny-starcoder"))


@pytest.fixture
def own_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start engine processes that no other test uses, and kill them at the end.

    Returns the runtime directory.
    """
    runtime = tmp_path / "run"
    monkeypatch.setenv("STARCODER_LSP_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("STARCODER_LSP_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("STARCODER_LSP_STATISTICS", str(tmp_path / "stats.sqlite3"))
    yield runtime
    for process in psutil.process_iter(["cmdline"]):
        if any(str(runtime) in part for part in process.info["cmdline"] or ()):
            process.kill()


class SkipRule:
    """Makes a CI run fail if a test was skipped without an optional reason."""

    def __init__(self) -> None:
        self.violations: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, "")
            if not reason.removeprefix("Skipped: ").startswith(OPTIONAL):
                self.violations.append(f"{report.nodeid}: {reason}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for violation in self.violations:
            terminalreporter.write_line(f"skipped, but must run: {violation}", red=True)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.violations and os.environ.get("CI"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(tryfirst=True)  # before pytest chooses the folder
def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None) and config.option.basetemp is None:
        # Each process has a folder within pytest's. The path of a Unix socket must stay short.
        config.option.basetemp = tempfile.mkdtemp(prefix="st-")
    # A shell that starts this in the background lets it ignore Ctrl+C, and `nohup` the end of the
    # terminal. So would all servers that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Tests must not write into the user's own statistics, chats, consent and adapters.
    folder = Path(tempfile.mkdtemp(prefix="starcoder-lsp-tests-"))
    os.environ["STARCODER_LSP_STATISTICS"] = str(folder / "stats.sqlite3")
    os.environ["STARCODER_LSP_CHATS"] = str(folder / "chats.sqlite3")
    os.environ["STARCODER_LSP_CONSENT"] = str(folder / "consent.json")
    os.environ["STARCODER_LSP_ADAPTERS"] = str(folder / "adapters")
    config.pluginmanager.register(SkipRule())

"""What all tests share, and the rule about skipping."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.machine import configure_threads

configure_threads()  # as the engine's process does, before torch is imported

from tests.checkpoint_maker import make_checkpoint  # noqa: E402

OPTIONAL = "optional: "
"""A skip whose reason begins so may happen in CI: it needs what not every machine has."""


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of StarCoder's layout, 512 positions."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny-starcoder"))


@pytest.fixture
def own_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let engines meet where no other test does, and kill those that run at the end.

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
    """Fails a CI run in which a test was skipped that must run."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, "")
            if not reason.removeprefix("Skipped: ").startswith(OPTIONAL):
                self.wrong.append(f"{report.nodeid}: {reason}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.wrong:
            terminalreporter.write_line(f"skipped, but must run: {line}", red=True)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.wrong and os.environ.get("CI"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    # Nothing that a test does shows up among the user's own numbers and adapters.
    own = tempfile.mkdtemp(prefix="starcoder-lsp-tests-")
    os.environ["STARCODER_LSP_STATISTICS"] = str(Path(own) / "stats.sqlite3")
    os.environ["STARCODER_LSP_CHATS"] = str(Path(own) / "chats.sqlite3")
    os.environ["STARCODER_LSP_ADAPTERS"] = str(Path(own) / "adapters")
    config.pluginmanager.register(SkipRule())

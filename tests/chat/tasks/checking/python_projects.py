"""Python projects in which generated tests run, with the real sandbox and a scripted model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.written_tests.environment import make_environment
from chat.asker import Asker
from chat.tasks.checking.checking import CheckSettings
from chat.tasks.target import Proposal, Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.scripted import ScriptedEngine
from sandbox.sandbox import isolation_problem
from tests.chat.tasks.test_write_tests import apply
from tests.conftest import OPTIONAL

NEEDS_SANDBOX = pytest.mark.skipif(
    isolation_problem() is not None and os.environ.get("STARCODER_LSP_SANDBOX") != "required",
    reason=f"{OPTIONAL}{isolation_problem()}",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an interpreter with pytest."""
    folder = tmp_path_factory.mktemp("environment")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    return make_environment(folder).parent


@pytest.fixture
def our_python(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an interpreter with pytest the one of all projects."""
    monkeypatch.setenv("PATH", f"{environment}:{os.environ['PATH']}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty project that another user can read, with a name that is hard to quote."""
    folder = tmp_path / "it's a project 🎉"
    folder.mkdir()
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)
    return folder


async def allow(folder: Path, what: str) -> bool:
    return True


async def write(
    root: Path,
    code: str,
    answers: str | Sequence[str],
    *,
    cursor: str = "def ",
    name: str = "mod.py",
    check: CheckSettings | None = None,
    stages: list[str] | None = None,
    instruction: str = "",
) -> Proposal:
    """Have tests written for the function at `cursor`; the model gives the answers in turn."""
    source = root / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(code.encode())
    remaining = [answers] if isinstance(answers, str) else list(answers)
    engine = ScriptedEngine(lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0])
    start = code.index(cursor) + len(cursor)
    target = Target(source.as_uri(), source, "python", code, start, start, instruction)
    return await write_tests(
        target,
        Asker(engine),
        WorkspaceFiles(root, boundary=root),
        check=check or CheckSettings(allow),
        on_stage=(stages if stages is not None else []).append,
    )


def written(proposal: Proposal, root: Path) -> str:
    """Apply a proposal, and return the text of its only file."""
    (path,) = {edit.path for edit in proposal.edits}  # type: ignore[union-attr]
    before = snapshot(root)
    apply(proposal)
    after = snapshot(root)
    del after[path]
    before.pop(path, None)
    assert before == after
    return path.read_text(encoding="utf-8")


def snapshot(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

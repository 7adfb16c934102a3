"""vitest runs the tests that were written; it comes with what the VS Code extension is built by."""

import os
import subprocess
from pathlib import Path

from tests.chat.tasks.projects import PROJECTS
from tests.chat.tasks.test_write_tests import apply, propose
from tests.editors.conftest import skip

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "editors" / "vscode" / "node_modules"
NODE = ROOT / ".editors" / "node" / "node_modules" / ".bin"


async def test_vitest_runs_what_was_written(tmp_path: Path) -> None:
    if not (MODULES / ".bin" / "vitest").exists() or not NODE.exists():
        skip("vitest is not here; `make test-editors` puts it there")
    apply((await propose(PROJECTS["vitest"], tmp_path))[0])
    (tmp_path / "node_modules").symlink_to(MODULES)
    output = vitest(tmp_path)
    assert "Test Files  2 passed" in output


def vitest(folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{NODE}:{os.environ['PATH']}", "NO_COLOR": "1"}
    command = [str(MODULES / ".bin" / "vitest"), "run"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

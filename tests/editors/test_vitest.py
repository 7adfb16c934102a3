"""Real vitest, a dependency of the VS Code extension, runs the tests that the task writes."""

import os
import subprocess
from pathlib import Path

from tests.chat.tasks.projects import PROJECTS
from tests.chat.tasks.test_write_tests import apply, propose
from tests.editors.conftest import skip

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "editors" / "vscode" / "node_modules"
NODE = ROOT / ".editors" / "node" / "node_modules" / ".bin"


async def test_vitest_runs_the_written_tests(tmp_path: Path) -> None:
    if not (MODULES / ".bin" / "vitest").exists() or not NODE.exists():
        skip("vitest is missing; `make test-editors` installs it")
    apply((await propose(PROJECTS["vitest"], tmp_path))[0])
    (tmp_path / "node_modules").symlink_to(MODULES)
    output = run_vitest(tmp_path)
    assert "Test Files  2 passed" in output


def run_vitest(folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{NODE}:{os.environ['PATH']}", "NO_COLOR": "1"}
    command = [str(MODULES / ".bin" / "vitest"), "run"]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout

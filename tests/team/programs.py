"""The programs that run the examples of docs/team. Tests whose program is missing are skipped."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import OPTIONAL

ROOT = Path(__file__).parents[2]


def installed_program(name: str, package: str) -> str:
    """Return a program of `make .editors/NAME/run` or of this machine.

    `package` is the system's package. With STARCODER_LSP_TEAM=required a missing program fails the
    test.
    """
    local = ROOT / ".editors" / name / "run"
    command = str(local) if local.exists() else shutil.which(name)
    if command is not None:
        return command
    reason = f"{name} is missing: make .editors/{name}/run, or install {package}"
    if os.environ.get("STARCODER_LSP_TEAM") == "required":
        pytest.fail(reason)
    pytest.skip(OPTIONAL + reason)


def server_program(name: str) -> str:
    """Return a program of `make test-servers`, such as `litellm/bin/litellm`."""
    folder = Path(os.environ.get("STARCODER_LSP_SERVERS_FOLDER", ROOT / ".servers"))
    if not (folder / name).exists():
        pytest.skip(f"{OPTIONAL}{folder / name} is missing: make test-servers")
    return str(folder / name)

"""`make test-editors` installs the editors. Without them, these tests are skipped."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.sandbox import isolation_problem
from tests.conftest import OPTIONAL

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".editors"
VSIX = ROOT / "editors" / "vscode" / "dist" / "starcoder.vsix"
PICTURES = Path(os.environ.get("STARCODER_LSP_PICTURES", INSTALLED / "pictures"))
"""The folder in which tests save screenshots."""
CHROMIUM = Path("/usr/bin/chromium")


def skip(reason: str) -> None:
    """Skip a test whose editor is not installed, or fail it if all tests must run."""
    if os.environ.get("STARCODER_LSP_EDITORS") == "required":
        pytest.fail(reason)
    pytest.skip(OPTIONAL + reason)


def require_editor(name: str) -> Path:
    """Return the program of an editor, or skip the test if it is not installed."""
    program = INSTALLED / name / "run"
    if not program.exists():
        skip(f"{name} is not in .editors; `make test-editors` installs it")
    return program


@pytest.fixture(params=["0.12", "0.10"])
def version(request: pytest.FixtureRequest) -> str:
    """Each installed version of Neovim."""
    version = str(request.param)
    require_editor(f"nvim-{version}")
    return version


@pytest.fixture
def vscode_installed() -> None:
    """Skip the test unless VS Code, its browser and our packaged extension are there."""
    for file in (INSTALLED / "code-server/node_modules/.bin/code-server", CHROMIUM, VSIX):
        if not file.exists():
            skip(f"{file.name} is missing; `make test-editors` installs it")


@pytest.fixture
def collect_transports() -> Iterator[None]:
    """Collect transports that pynvim left open, while their warnings are ignored."""
    yield
    gc.collect()


@pytest.fixture
def isolated() -> None:
    """Skip a test if this machine cannot isolate programs."""
    if (problem := isolation_problem()) is not None:
        skip(problem)

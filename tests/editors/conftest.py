"""Editors are installed by `make test-editors`; without them these tests are skipped."""

import os
from pathlib import Path

import pytest

from tests.conftest import OPTIONAL

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".editors"
VSIX = ROOT / "editors" / "vscode" / "dist" / "starcoder.vsix"
PICTURES = Path(os.environ.get("STARCODER_LSP_PICTURES", INSTALLED / "pictures"))
"""Where tests leave what they saw."""
CHROMIUM = Path("/usr/bin/chromium")


def skip(reason: str) -> None:
    """Skip a test for want of an editor; fail it where all must run."""
    if os.environ.get("STARCODER_LSP_EDITORS") == "required":
        pytest.fail(reason)
    pytest.skip(OPTIONAL + reason)


def needed(editor: str) -> Path:
    """Return the program of an editor, or skip the test."""
    program = INSTALLED / editor / "run"
    if not program.exists():
        skip(f"{editor} is not in .editors; `make test-editors` puts it there")
    return program


@pytest.fixture(params=["0.12", "0.10"])
def version(request: pytest.FixtureRequest) -> str:
    """A version of Neovim that is here."""
    found = str(request.param)
    needed(f"nvim-{found}")
    return found


@pytest.fixture
def vscode_installed() -> None:
    """VS Code, its browser and our package are here."""
    for what in (INSTALLED / "code-server/node_modules/.bin/code-server", CHROMIUM, VSIX):
        if not what.exists():
            skip(f"{what.name} is not here; `make test-editors` puts it there")

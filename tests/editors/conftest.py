"""Editors are installed by `make test-editors`; without them these tests are skipped."""

import os
from pathlib import Path

import pytest

from tests.conftest import OPTIONAL

INSTALLED = Path(__file__).parents[2] / ".editors"


@pytest.fixture(params=["0.12", "0.10"])
def version(request: pytest.FixtureRequest) -> str:
    """A version of Neovim that is here."""
    found = str(request.param)
    if not (INSTALLED / f"nvim-{found}" / "nvim").exists():
        message = f"Neovim {found} is not in .editors; `make test-editors` puts it there"
        if os.environ.get("STARCODER_LSP_EDITORS") == "required":
            pytest.fail(message)
        pytest.skip(OPTIONAL + message)
    return found

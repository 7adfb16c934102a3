"""What all tests share."""

from pathlib import Path

import pytest

from tests.checkpoint_maker import make_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of StarCoder's layout, 512 positions."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny-starcoder"))

"""Models for tests of draft models."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.loading.load import load
from engine.loading.on_disk import EMBEDDED_DIR
from engine.network.model import LoadedModel
from engine.settings import EngineSettings
from tests.engine.decoding.draft_pair import Pair, load_pair


@pytest.fixture(scope="module")
def noisy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with noise in its weights: it is often right and often wrong."""
    folder = tmp_path_factory.mktemp("models") / "noisy"
    shutil.copytree(EMBEDDED_DIR, folder)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    noisy = {
        name: (tensor + 0.12 * tensor.float().std() * torch.randn(tensor.shape)).to(tensor.dtype)
        if tensor.ndim == 2
        else tensor
        for name, tensor in weights.items()
    }
    save_file(noisy, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def plain() -> LoadedModel:
    return load(EngineSettings(model="demo", device="cpu"), lambda *_: None).model


@pytest.fixture
def pair(noisy_path: Path) -> Pair:
    return load_pair(str(noisy_path))

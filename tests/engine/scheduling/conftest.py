"""The models of the scheduler's tests."""

from pathlib import Path

import pytest

from benchmarks.stepped_scheduler import finish_preparing
from engine.kernels.build import KernelBuild
from engine.loading.adapter_store import install
from engine.loading.load import Loaded, load
from engine.network.lean_forward import LeanForward
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.adapters import make_adapter, note
from tests.engine.scheduling.harness import WINDOW


@pytest.fixture(scope="module", params=["torch", "kernels"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that torch computes, and one whose sizes suit the kernels."""
    if request.param == "kernels" and KernelBuild().wait(timeout=120) is None:
        pytest.skip("optional: needs a C++ compiler")
    width = {"torch": 32, "kernels": 64}[request.param]
    return make_checkpoint(tmp_path_factory.mktemp("model"), n_positions=WINDOW, n_embd=width)


@pytest.fixture(scope="module")
def loaded(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A model with two adapters, `one` and `other`."""
    folder = tmp_path_factory.mktemp("adapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STARCODER_LSP_ADAPTERS", str(folder))
        for seed, name in enumerate(("one", "other")):
            adapter = tmp_path_factory.mktemp(name)
            make_adapter(path, adapter, seed=seed)
            install(adapter, name, note(path))
        loaded = load(EngineSettings(model=str(path), device="cpu"), lambda *_: None)
    forward = loaded.model.forward
    assert isinstance(forward, LeanForward)
    assert forward.supports_fused is (loaded.model.cache_shape.head_dim == 16)
    finish_preparing(forward)
    return loaded

"""Damaged headers of safetensors and GGUF files: an error with a sentence, or a model."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StarcoderError
from engine.loading.lean_loader import load_lean
from engine.loading.locate import read_config
from engine.loading.source import ModelSource
from engine.network.backend import Backend
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.loading.gguf_maker import as_kind, make_model, write_gguf
from tests.fuzz.conftest import FUZZING

MAX_BYTES = 1 << 30
"""Largest memory that reading a small damaged file may take."""
HEADER = 12_000
"""Bytes at the start of a file in which most changes are made."""

CHANGES = st.lists(
    st.tuples(st.integers(0, HEADER), st.one_of(st.integers(0, 255), st.just(0x7F), st.just(0xFF))),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def safetensors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("fuzz") / "model", shard_size="1GB")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("fuzz") / "model.gguf"
    write_gguf(file, make_model("llama"), as_kind(Kind.Q8_0))
    return file


def changed(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(content)
    for offset, value in changes:
        damaged[offset % len(damaged)] = value
    return bytes(damaged)


def load_or_fail(path: Path) -> None:
    """Load the weights; any exception other than an error for the user fails the test."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(StarcoderError):
        config = read_config(path, "model")
        settings = EngineSettings(model=str(path), device="cpu")
        source = ModelSource(settings, "model", path, config, "cpu", lambda *_: None)
        load_lean(source, Backend(), 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < MAX_BYTES


@FUZZING
@given(changes=CHANGES, length=st.one_of(st.none(), st.integers(0, HEADER)))
def test_a_damaged_safetensors_file(
    safetensors: Path, changes: list[tuple[int, int]], length: int | None
) -> None:
    file = safetensors / "model.safetensors"
    original = file.read_bytes()
    try:
        file.write_bytes(changed(original, changes)[:length])
        load_or_fail(safetensors)
    finally:
        file.unlink()  # the file may still be mapped: its contents must not change
        file.write_bytes(original)


@FUZZING
@given(changes=CHANGES, length=st.one_of(st.none(), st.integers(0, HEADER)))
def test_a_damaged_gguf_file(
    gguf: Path, changes: list[tuple[int, int]], length: int | None
) -> None:
    damaged = gguf.with_name("damaged.gguf")
    damaged.unlink(missing_ok=True)
    damaged.write_bytes(changed(gguf.read_bytes(), changes)[:length])
    load_or_fail(damaged)


@FUZZING
@given(
    key=st.sampled_from(["n_embd", "n_head", "n_layer", "n_inner", "n_positions", "vocab_size"]),
    value=st.one_of(
        st.integers(-(10**12), 10**12), st.floats(), st.text(max_size=5), st.none(), st.just([])
    ),
)
def test_a_damaged_config(safetensors: Path, key: str, value: object) -> None:
    folder = safetensors.with_name("config")
    shutil.copytree(safetensors, folder, dirs_exist_ok=True)
    config = json.loads((safetensors / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {key: value}), encoding="utf-8")
    load_or_fail(folder)

"""A peer process starts without the environment variables that configure our engine."""

import os
from pathlib import Path

import pytest

from benchmarks.llama_server import llama_server
from benchmarks.peers.llama_options import LlamaOptions
from benchmarks.peers.process import (
    GenerateForm,
    LlamaCppFile,
    TransformersGenerate,
    convert_to_gguf,
    peer_environment,
)
from benchmarks.stepped_scheduler import ids_of, run_alone
from engine.api import GenerationRequest
from engine.loading.load import load
from engine.machine import configure_threads
from engine.settings import EngineSettings

OURS = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "KMP_BLOCKTIME", "THP_MEM_ALLOC_ENABLE")


@pytest.fixture
def environment_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for the peer's environment. Our own one has the variables that must not leak."""
    for name in OURS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("INHERITED", "1")
    return tmp_path / "environment"


@pytest.fixture
def program(tmp_path: Path, environment_file: Path) -> Path:
    """A program that appends its environment to a file, and ends."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nenv >> '{environment_file}'\necho ready\n")
    program.chmod(0o755)
    return program


def names_in(file: Path) -> list[str]:
    return [line.partition("=")[0] for line in file.read_text().splitlines()]


def test_our_variables_do_not_reach_the_conversion(program: Path, environment_file: Path) -> None:
    convert_to_gguf(program, Path("folder"), "f32", Path("file"))
    assert "INHERITED" in names_in(environment_file)
    assert not set(OURS) & set(names_in(environment_file))


def test_our_variables_do_not_reach_llama_cpp(program: Path, environment_file: Path) -> None:
    LlamaCppFile(program, Path("file"), LlamaOptions(1)).close()
    assert "INHERITED" in names_in(environment_file)
    assert not set(OURS) & set(names_in(environment_file))


def test_our_variables_do_not_reach_transformers(program: Path, environment_file: Path) -> None:
    TransformersGenerate("demo", "float32", "eager", str(program)).close()
    assert "INHERITED" in names_in(environment_file)
    assert not set(OURS) & set(names_in(environment_file))


@pytest.mark.parametrize("form", ["eager", "compiled"])
def test_transformers_generates_the_same_tokens(form: GenerateForm, tiny_checkpoint: Path) -> None:
    """Compiling takes long with more layers than this checkpoint has."""
    settings = EngineSettings(model=str(tiny_checkpoint), device="cpu", dtype="float32")
    model = load(settings, lambda *_: None).model
    prompt = tuple(model.tokenizer.encode("def mean(numbers):\n    total = 0\n"))
    peer = TransformersGenerate(str(tiny_checkpoint), "float32", form)
    try:
        output = peer.generate(prompt, 12)
    finally:
        peer.close()
    assert output["ids"] == ids_of(run_alone(model, GenerationRequest(prompt, 12)))
    assert output["first"] > 0
    assert output["each"] > 0


async def test_our_variables_do_not_reach_the_server_of_llama_cpp(
    program: Path, environment_file: Path
) -> None:
    with pytest.raises(RuntimeError, match="ended"):
        async with llama_server(
            program, Path("file"), context=1, batch=1, threads=1, suffix_first=False
        ):
            pass
    assert "INHERITED" in names_in(environment_file)
    assert not set(OURS) & set(names_in(environment_file))


def test_every_variable_that_the_engine_sets_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    configure_threads()
    assert environment
    assert peer_environment(environment) == {}

"""The measurements of a real model, without one: modes, comparisons and llama.cpp's options."""

import json
import math
import os
from pathlib import Path

import pytest

from benchmarks.common import Timing, load_ours
from benchmarks.peers import llama_contenders, quiet
from benchmarks.peers.comparison import Result
from benchmarks.peers.llama_contenders import LlamaBench, LlamaPrograms, best_options
from benchmarks.peers.llama_options import LlamaOptions
from benchmarks.real_model.greedy import Reference, first_difference
from benchmarks.real_model.modes import Modes, through_engine
from benchmarks.real_model.perplexity import compare
from benchmarks.real_model.prompts import read_prompts, windows
from benchmarks.real_model.transcripts import _with_edits
from engine.settings import EngineSettings

NEW = 12


async def test_all_modes_generate_the_same_and_count_what_they_did() -> None:
    model = load_ours("demo", "float32")
    modes = Modes(model, NEW)
    texts = [prompt.text for prompt in read_prompts() if prompt.kind == "code"][::7]
    prompts = [model.tokenizer.encode(text) for text in texts]
    outputs = modes.alone(prompts)
    assert modes.counts.keys() == {"tokens"}  # nothing is reused or drafted
    assert modes.with_reuse(prompts) == outputs
    assert modes.counts["reused"] > 0
    assert modes.in_batches(prompts) == outputs
    assert not modes.counts["drafted"]
    assert modes.with_drafts(prompts, outputs) == outputs
    assert 0 < modes.counts["accepted"] < modes.counts["drafted"]
    settings = EngineSettings(model="demo", dtype="float32")
    assert await through_engine(settings, prompts, NEW) == outputs


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([1, 2], ""),
        ([1, 3], "token 1, gap 0.250000"),
        ([1], "token 1, gap 0.250000"),
        ([1, 2, 3], "token 2, gap 0.125000"),
    ],
)
def test_a_difference_is_reported_with_its_gap(output: list[int], expected: str) -> None:
    reference = Reference([7], [1, 2], [0.5, 0.25, 0.125])
    assert first_difference(output, reference) == expected


def test_differences_that_the_mean_hides_are_found() -> None:
    same = compare([-1.0, -3.0], [-1.0, -3.0])
    assert (same.relative_difference, same.nats_per_token) == (0, 0)
    assert same.perplexity == pytest.approx(math.exp(2))
    swapped = compare([-3.0, -1.0], [-1.0, -3.0])
    assert swapped.relative_difference == pytest.approx(0)
    assert swapped.nats_per_token == pytest.approx(2)
    worse = compare([-2.1], [-2.0])
    assert worse.relative_difference == pytest.approx(math.exp(0.1) - 1)


def test_the_prompts_are_varied_and_the_windows_whole() -> None:
    prompts = read_prompts()
    assert len(prompts) == 50
    assert len(set(prompts)) == 50
    assert {prompt.kind for prompt in prompts} == {"code", "prose", "chat", "dialogue"}
    assert all(prompt.messages[-1].role == "user" for prompt in prompts if prompt.messages)
    model = load_ours("demo", "float32")
    parts = windows(model.tokenizer, 1024)
    assert {len(part) for part in parts} == {1024}
    assert len(parts) > 15


def test_ours_is_compared_with_the_fastest_peer_of_its_bits() -> None:
    runs = {"ours int4": [3.0, 2.9, 9.0], "a": [6.0], "b": [2.0], "other": [1.0]}
    result = Result(runs, {}, {"p": {"ours int4": ["a", "b"]}})
    assert result.ratio("ours int4", "p") == 1.5
    assert result.ratio("a", "p") is None


@pytest.mark.parametrize("disturbed", ["ours int4", "a", "b"])
def test_disturbed_runs_give_no_ratio(disturbed: str) -> None:
    runs = {"ours int4": [3.0, 3.0, 9.0], "a": [6.0, 6.0, 7.0], "b": [2.0, 2.0, 2.1]}
    runs[disturbed] = [6.0, 60.0, 60.0]
    ratio = Result(runs, {}, {"p": {"ours int4": ["a", "b"]}}).ratio("ours int4", "p")
    assert ratio is not None
    assert math.isnan(ratio)


def test_a_run_waits_for_a_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = [90.0, 40.0, 3.0, 80.0]
    quiet.wait_until_quiet(lambda _: busy.pop(0))
    assert busy == [80.0]
    monkeypatch.setattr(quiet, "_MAX_WAIT_S", -1.0)
    with pytest.raises(SystemExit, match="Other programs"):
        quiet.wait_until_quiet(lambda _: 90.0)


def test_inserted_lines_do_not_move_the_places_of_each_other() -> None:
    def insertion(line: int, text: str) -> dict[str, object]:
        position = {"line": line, "character": 0}
        return {"range": {"start": position, "end": position}, "newText": text}

    edits = [insertion(1, "B\n"), insertion(12, "D\n"), insertion(2, "C\n")]
    edits.append(insertion(12, "A\n"))
    lines = "".join(f"{number}\n" for number in range(12))
    assert _with_edits(lines, edits) == lines.replace("\n1\n2\n", "\nB\n1\nC\n2\n") + "D\nA\n"


def test_options_are_kept_only_if_they_help(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, _: Path, __: Path, options: LlamaOptions) -> None:
            self.options = options

        def __call__(self, prompt: tuple[int, ...], count: int) -> Timing:
            milliseconds = 10.0
            milliseconds -= 2 * (self.options.flash_attention == "off")
            milliseconds += 5 * (not self.options.repack)
            milliseconds -= 0.01 * (self.options.load_mode == "none")  # noise
            return Timing(0.0, milliseconds)

        def close(self) -> None:
            pass

    monkeypatch.setattr(llama_contenders, "LlamaCppFile", Fake)
    programs = LlamaPrograms(Path("python"), None)
    best = best_options(
        programs, Path("f"), (1,), 2, lambda timing: timing.each, lambda contender: contender
    )
    assert best == LlamaOptions(os.cpu_count() or 1, flash_attention="off")


def test_llama_bench_runs_with_the_options_and_without_our_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    program, record = tmp_path / "program", tmp_path / "record"
    output = json.dumps([{"samples_ns": [64_000_000]}])
    script = f"#!/bin/sh\nenv > '{record}'\necho ARGUMENTS=$* >> '{record}'\necho '{output}'\n"
    program.write_text(script)
    program.chmod(0o755)
    bench = LlamaBench(program, Path("f.gguf"), LlamaOptions(1, repack=False, batch=256))
    assert bench((1, 2, 3), 32).each == 2.0
    assert bench((1, 2, 3), 1).first == 64.0
    text = record.read_text()
    assert "OMP_WAIT_POLICY" not in text
    assert "--threads 1 --flash-attn auto --ubatch-size 256 --load-mode mmap --repack 0" in text
    assert "-p 3 -n 0" in text

"""The ablation leaves out what it says, and puts it back."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.ablation import VARIANTS, Variant, resolve
from benchmarks.simulated_editor import SimulatedEditor
from engine.api import GenerationRequest
from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.evaluation.counts import Passage, TypingCounts
from fim.evaluation.files import File, source_files
from fim.evaluation.project_context import context_provider_for, hole_uri
from fim.evaluation.typist import Typist
from fim.snapshot import Snapshot

BY_NAME = {variant.without: variant for variant in VARIANTS}
TEXT = "def f(a):\n    total = g(a, 1)\n    return total\n\n\nx = f(1)\n"


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.without)
def test_a_mechanism_is_there_to_be_left_out_and_is_put_back(variant: Variant) -> None:
    found = [getattr(*resolve(place)) for place in variant.patches]
    with variant.on():
        changed = [getattr(*resolve(place)) for place in variant.patches]
        assert all(one is not other for one, other in zip(found, changed, strict=True))
    assert [getattr(*resolve(place)) for place in variant.patches] == found
    assert (variant.fim != BY_NAME["nothing"].fim) is bool(variant.settings)


async def typed(
    variant: Variant, script: Callable[[GenerationRequest], str], gap: float = 0.05
) -> tuple[TypingCounts, SimulatedEditor]:
    engine = ScriptedEngine(script)
    passage = Passage(File("a.py", "python", TEXT), TEXT.index("    total"), TEXT.index("\n\n\nx"))
    with variant.on():
        editor = SimulatedEditor(Completer(engine, variant.fim))
        editor.open(passage.initial_text, passage.start, "file:///a.py", "python")
        counts = await Typist(editor, passage, itertools.repeat(gap)).type()
    assert editor.text == TEXT
    assert counts.calls == editor.completer.num_requests
    return counts, editor


async def test_what_is_left_out_is_missed() -> None:
    def wrong_at_the_end(_: GenerationRequest) -> str:
        return "total = g(a, 2)\n"

    whole, _ = await typed(BY_NAME["nothing"], wrong_at_the_end)
    without, _ = await typed(BY_NAME["typed-through"], wrong_at_the_end)
    assert without.calls > whole.calls
    assert sum(without.answers.values()) > 0
    assert "typed through" in whole.answers
    assert "typed through" not in without.answers


async def test_doubled_brackets_are_seen_where_nothing_prevents_them() -> None:
    def closes(_: GenerationRequest) -> str:
        return "a, 2) + 1\n"

    whole, _ = await typed(BY_NAME["nothing"], closes)
    assert not any(one.doubled for one in whole.shown)
    # The parser cuts back what is left of it, so both must be missing.
    both = Variant(
        "both", patches={**BY_NAME["closed brackets"].patches, **BY_NAME["syntax"].patches}
    )
    neither, _ = await typed(both, closes)
    assert any(one.doubled for one in neither.shown)


async def test_the_clock_skips_what_nobody_waits_for() -> None:
    """At a second a key, this would take half a minute."""
    counts, editor = await typed(BY_NAME["nothing"], lambda _: "nothing like it\n", gap=1.0)
    assert editor.skipped_s > 0.8 * counts.keys
    assert counts.answers.get("late", 0) == 0


async def test_other_files_are_found_but_never_the_answer(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text("def unusual_helper(values):\n    return sum(values)\n")
    own = "from tools import unusual_helper\n\n\ndef mine():\n    return unusual_helper([1])\n"
    (tmp_path / "own.py").write_text(own)
    files = source_files(tmp_path)
    around = context_provider_for(files)
    cut = own.index("unusual_helper([")
    uri = hole_uri(f"own.py:{cut}-{len(own)}:line")
    placed = await around(Snapshot(uri, "python", own[:cut] + "\n", cut))
    assert (placed.path, placed.project) == ("own.py", tmp_path.name)
    assert [one.path for one in placed.excerpts] == ["tools.py"]
    nowhere = Snapshot("eval:t/1", "python", "x", 1)
    assert await around(nowhere) == nowhere

"""Each variant of the ablation leaves out its mechanism, and restores it afterwards."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.ablation import CACHE_LIMIT, sources_of
from benchmarks.simulated_editor import SimulatedEditor
from benchmarks.variants import VARIANTS, Variant, resolve
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
def test_a_mechanism_exists_is_left_out_and_is_restored(variant: Variant) -> None:
    originals = [getattr(*resolve(path)) for path in variant.patches]
    with variant.applied():
        patched = [getattr(*resolve(path)) for path in variant.patches]
        assert all(old is not new for old, new in zip(originals, patched, strict=True))
    assert [getattr(*resolve(path)) for path in variant.patches] == originals
    assert (variant.fim_settings != BY_NAME["nothing"].fim_settings) is bool(variant.settings)


def test_the_cache_limit_that_the_engine_command_replaces_exists() -> None:
    assert callable(getattr(*resolve(CACHE_LIMIT)))


async def type_passage(
    variant: Variant, script: Callable[[GenerationRequest], str], gap: float = 0.05
) -> tuple[TypingCounts, SimulatedEditor]:
    engine = ScriptedEngine(script)
    passage = Passage(File("a.py", "python", TEXT), TEXT.index("    total"), TEXT.index("\n\n\nx"))
    with variant.applied():
        editor = SimulatedEditor(Completer(engine, variant.fim_settings))
        editor.open(passage.initial_text, passage.start, "file:///a.py", "python")
        counts = await Typist(editor, passage, itertools.repeat(gap)).type()
    assert editor.text == TEXT
    assert counts.calls == editor.completer.model.num_requests
    return counts, editor


async def test_without_typed_through_the_model_is_asked_more_often() -> None:
    def wrong_at_the_end(_: GenerationRequest) -> str:
        return "total = g(a, 2)\n"

    complete, _ = await type_passage(BY_NAME["nothing"], wrong_at_the_end)
    without, _ = await type_passage(BY_NAME["typed-through"], wrong_at_the_end)
    assert without.calls > complete.calls
    assert sum(without.results.values()) > 0
    assert "typed through" in complete.results
    assert "typed through" not in without.results


async def test_doubled_brackets_are_counted_if_nothing_prevents_them() -> None:
    def closes(_: GenerationRequest) -> str:
        return "a, 2) + 1\n"

    complete, _ = await type_passage(BY_NAME["nothing"], closes, gap=0.5)
    assert not any(suggestion.doubled for suggestion in complete.shown)
    # Without the bracket check the syntax check truncates the suggestion: leave out both.
    both = Variant(
        "both", patches={**BY_NAME["closed brackets"].patches, **BY_NAME["syntax"].patches}
    )
    neither, _ = await type_passage(both, closes, gap=0.5)
    assert any(suggestion.doubled for suggestion in neither.shown)


async def test_the_clock_skips_idle_pauses() -> None:
    """At one second per key, the passage would take half a minute."""
    counts, editor = await type_passage(BY_NAME["nothing"], lambda _: "nothing like it\n", gap=1.0)
    assert editor.skipped_s > 0.8 * counts.keys
    assert counts.results.get("late", 0) == 0


async def test_context_has_other_files_but_never_the_answer(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text("def unusual_helper(values):\n    return sum(values)\n")
    own = "from tools import unusual_helper\n\n\ndef mine():\n    return unusual_helper([1])\n"
    (tmp_path / "own.py").write_text(own)
    add_context = context_provider_for(source_files(tmp_path))
    cut = own.index("unusual_helper([")
    uri = hole_uri(f"own.py:{cut}-{len(own)}:line")
    snapshot = await add_context(
        Snapshot(uri, "python", own[:cut] + "\n", cut), excerpts=True, passages=True
    )
    assert (snapshot.path, snapshot.project) == ("own.py", tmp_path.name)
    assert [excerpt.path for excerpt in snapshot.excerpts] == ["tools.py"]
    without_project = Snapshot("eval:t/1", "python", "x", 1)
    assert await add_context(without_project, excerpts=True, passages=True) == without_project


def test_of_releases_only_added_lines_are_typed(tmp_path: Path) -> None:
    for name, text in (("old", TEXT), ("new", TEXT + "y = f(2)\n")):
        (tmp_path / "bread" / name).mkdir(parents=True)
        (tmp_path / "bread" / name / "a.py").write_text(text)
    with sources_of([tmp_path], releases=True) as (file,):
        assert file.path.startswith("bread/")
        assert file.may_cut(len(TEXT), len(TEXT) + 8)
        assert not file.may_cut(0, 9)
        assert file.absolute_path.read_text() == TEXT
    with sources_of([tmp_path / "bread" / "new"], releases=False) as (file,):
        assert file.added is None

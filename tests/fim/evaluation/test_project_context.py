"""The text of the project for a hole: not what only its file on disk contains, and not too late."""

import time
from pathlib import Path
from typing import Any

import pytest

from fim.context.gather import find_excerpts
from fim.evaluation.files import source_files
from fim.evaluation.project_context import context_provider_for, hole_uri
from fim.snapshot import Snapshot


async def test_the_solution_on_disk_is_no_passage(tmp_path: Path) -> None:
    own = "import x\n\n\ndef mine():\n    return unusual_helper(alpha, beta)\n\n\nprint(mine())\n"
    (tmp_path / "own.py").write_text(own)
    (tmp_path / "other.py").write_text("def other():\n    return unusual_helper(gamma)\n")
    add_context = context_provider_for(source_files(tmp_path))
    for cut in range(own.index("unusual") + 4, own.index("alpha") + 1):
        end = own.index("\n\n\nprint")
        uri = hole_uri(f"own.py:{cut}-{end}:line")
        snapshot = Snapshot(uri, "python", own[:cut] + own[end:], cut)
        added = await add_context(snapshot, excerpts=False, passages=True)
        assert "gamma" in added.passages[0].after
        assert "alpha" not in str(added.passages)
        assert "beta" not in str(added.passages)
        without = await add_context(snapshot, excerpts=False, passages=False)
        assert without == snapshot


async def test_excerpts_are_part_of_a_measurement_also_on_a_slow_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: Any) -> Any:
        time.sleep(0.3)  # an editor would not wait
        return find_excerpts(*arguments)

    monkeypatch.setattr("fim.context.excerpts.find_excerpts", slowly)
    (tmp_path / "own.py").write_text("import other\n\nunusual_helper(alpha)\n")
    (tmp_path / "other.py").write_text("def unusual_helper(gamma):\n    return gamma\n")
    add_context = context_provider_for(source_files(tmp_path))
    snapshot = Snapshot(hole_uri("own.py:0-1:line"), "python", "unusual_helper(", 15)
    added = await add_context(snapshot, excerpts=True, passages=False)
    assert [excerpt.path for excerpt in added.excerpts] == ["other.py"]

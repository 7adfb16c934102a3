"""Passages for a hole never contain what only the file on disk contains."""

from pathlib import Path

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

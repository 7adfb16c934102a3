"""Parts of other files for holes and passages, as an editor's server would find them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from fim.completer import ContextProvider
from fim.context.project import Project
from fim.evaluation.files import File
from fim.snapshot import Snapshot

_HOLE = re.compile(r":\d+-\d+:\w+$")


def hole_uri(name: str) -> str:
    """Return the URI of a file with a hole, by the hole's name."""
    return f"eval:{name}"


def context_provider_for(files: Sequence[File]) -> ContextProvider:
    """Return what places a snapshot among files, each in its folder; one of no file stays as it is.

    The index is there before the first answer, as in an editor that is open for a while. What the
    snapshot's own file has on disk, the answer among it, is no part of what is found.
    """
    projects = {file.root: Project(file.root) for file in files}
    places = {
        uri: file for file in files for uri in (f"eval:{file.path}", file.absolute_path.as_uri())
    }
    looked: set[Path] = set()

    async def placed(snapshot: Snapshot) -> Snapshot:
        file = places.get(_HOLE.sub("", snapshot.uri))
        if file is None:
            return snapshot
        project = projects[file.root]
        if file.root not in looked:
            looked.add(file.root)
            await asyncio.to_thread(project.scan)
        within = file.absolute_path.relative_to(file.root.resolve()).as_posix()
        return await project.add_project_context(snapshot, within, ())

    return placed

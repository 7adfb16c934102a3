"""Excerpts of other files and recent edits for holes and passages, as in an editor."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fim.context.project import Project
from fim.context.provider import ContextProvider
from fim.evaluation.commit_edits import earlier_edits
from fim.evaluation.files import File
from fim.snapshot import Snapshot

_MAX_PROJECTS = 4
"""Maximum number of projects in memory. The files of a project mostly follow each other."""
_HOLE = re.compile(r":\d+-\d+:\w+$")


def hole_uri(name: str) -> str:
    """Return the URI of a document with the hole of a given name."""
    return f"eval:{name}"


def context_provider_for(files: Sequence[File]) -> ContextProvider:
    """Return a context provider for snapshots of the files; it leaves other snapshots unchanged.

    Each folder is a project. It is scanned before the first result, as in an editor that has been
    open for a while. The snapshot's own file on disk, which contains the solution, is not used for
    excerpts. Of its passages, only text remains that the snapshot contains too. For a file that a
    commit changed, some of its other edits are recent edits.
    """
    projects: dict[Path, Project] = {}
    by_uri = {
        uri: file for file in files for uri in (f"eval:{file.path}", file.absolute_path.as_uri())
    }

    async def add_context(snapshot: Snapshot, *, excerpts: bool, passages: bool) -> Snapshot:
        file = by_uri.get(_HOLE.sub("", snapshot.uri))
        if file is None:
            return snapshot
        project = projects.pop(file.root, None)
        if project is None:
            project = Project(file.root)
            await asyncio.to_thread(project.scan)
            await asyncio.to_thread(project.build_memory)
        projects[file.root] = project  # the last one is the most recently used
        for root in list(projects)[:-_MAX_PROJECTS]:
            projects.pop(root).stop()
        path = file.absolute_path.relative_to(file.root.resolve()).as_posix()
        if passages:
            passages_here = await project.passages(snapshot, path, (), max_wait_s=None)
            snapshot = replace(snapshot, passages=passages_here)
        if not excerpts:
            return snapshot
        edits = earlier_edits(file.edits, snapshot, path, snapshot.uri)
        with_excerpts = await project.add_excerpts(snapshot, path, (), max_wait_s=None)
        return replace(with_excerpts, edits=edits)

    return add_context

"""The projects of the workspace: one for each folder that contains an open file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from fim.context.open_files import OpenFile
from fim.context.project import Project
from fim.memory.own_memory import OwnMemory
from fim.snapshot import Passage, Snapshot
from lsp_server.session.documents import Document
from lsp_server.session.exclusions import Exclusions
from lsp_server.session.places import innermost
from lsp_server.session.uris import file_of, folder_of


class Projects:
    """Adds the context from a document's project to its snapshots."""

    def __init__(
        self,
        folder_uris: Callable[[], Iterable[str]],
        documents: Callable[[], Iterable[Document]],
        exclusions: Exclusions,
        *,
        use_git: bool,
    ) -> None:
        """`exclusions` decides which files prompts may contain."""
        self._use_git = use_git
        self._folder_uris = folder_uris
        self._documents = documents
        self._exclusions = exclusions
        self._projects: dict[Path, Project] = {}
        self._own_memories: dict[str, OwnMemory] = {}
        """The memories of documents that are in no project, by URI."""
        self._real_paths: dict[Path, Path] = {}
        """The paths without links of folders, and of files that are in no folder by their name."""

    async def add_project_context(
        self, snapshot: Snapshot, *, excerpts: bool, passages: bool
    ) -> Snapshot:
        """Return the snapshot with excerpts of related files and passages, if they are wanted.

        With excerpts come the project and the path. The cells of a notebook and documents outside
        of the workspace have none; their passages are from their own text.
        """
        if not excerpts and not passages:
            return snapshot
        location = None
        if not snapshot.cells:
            await self._follow_links()
            location = self._locate(snapshot.uri)
        if location is None:
            return await self._add_own_passages(snapshot) if passages else snapshot
        project, path = location
        open_files = list(self._open_files(project))
        search = project.passages(snapshot, path, open_files) if passages else _nothing()
        if not excerpts:
            return replace(snapshot, passages=await search)
        with_excerpts, own_passages = await asyncio.gather(
            project.add_excerpts(snapshot, path, open_files), search
        )
        return replace(with_excerpts, passages=own_passages)

    async def _add_own_passages(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with passages of its own text, and of the cells before it."""
        memory = self._own_memories.setdefault(snapshot.uri, OwnMemory())
        return replace(snapshot, passages=await memory.find(snapshot))

    def close_document(self, uri: str) -> None:
        """Forget a closed document, and use the file on disk again instead of it."""
        if (memory := self._own_memories.pop(uri, None)) is not None:
            memory.stop()
        if (file := file_of(uri)) is None:
            return
        for root, project in self._projects.items():
            if (path := self._path_below(root, file)) is not None:
                project.close(path)
        self._real_paths.pop(file, None)

    def folders_changed(self) -> None:
        """Stop reading folders that have left the workspace."""
        for root in self._projects.keys() - set(self._roots()):
            self._projects.pop(root).stop()

    def stop(self) -> None:
        """Stop reading files."""
        for project in self._projects.values():
            project.stop()
        for memory in self._own_memories.values():
            memory.stop()

    def _roots(self) -> Sequence[Path]:
        return [root for uri in self._folder_uris() if (root := folder_of(uri)) is not None]

    async def _follow_links(self) -> None:
        """Find the real paths of files that no folder contains by their name."""
        roots = self._roots()
        files = [file for each in self._documents() if (file := file_of(each.uri)) is not None]
        outside = [file for file in files if innermost(file, roots) is None]
        unknown = [path for path in (*roots, *outside) if path not in self._real_paths]
        if outside and unknown:
            real_paths = await asyncio.to_thread(lambda: [os.path.realpath(p) for p in unknown])
            self._real_paths |= zip(unknown, map(Path, real_paths), strict=True)

    def _locate(self, uri: str) -> tuple[Project, str] | None:
        """Return a document's project and its path there, None if it is in no folder."""
        if (file := file_of(uri)) is None:
            return None
        paths = {root: self._path_below(root, file) for root in self._roots()}
        inner = {root: path for root, path in paths.items() if path is not None}
        if not inner:
            return None
        root = min(inner, key=lambda root: len(Path(inner[root]).parts))
        if root not in self._projects:
            self._projects[root] = Project(
                root, self._exclusions.allows, self._exclusions.is_ignored, use_git=self._use_git
            )
        return self._projects[root], inner[root]

    def _path_below(self, root: Path, file: Path) -> str | None:
        """Return the path of a file in a folder that contains it, by its name or else really."""
        if not file.is_relative_to(root):
            root, file = self._real_paths.get(root, root), self._real_paths.get(file, file)
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else None

    def _open_files(self, project: Project) -> Iterable[OpenFile]:
        for document in self._documents():
            file = file_of(document.uri)
            path = None if file is None else self._path_below(project.root, file)
            if path is not None:
                language = document.language_id or ""
                yield OpenFile(path, language, document.source, document.version)


async def _nothing() -> tuple[Passage, ...]:
    return ()

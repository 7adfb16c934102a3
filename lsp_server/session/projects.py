"""The projects of the workspace: one for each folder that contains an open file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from fim.context.project import OpenFile, Project
from fim.snapshot import Snapshot
from lsp_server.session.documents import Document
from lsp_server.session.uris import file_of, folder_of


class Projects:
    """Adds the context from a document's project to its snapshots."""

    def __init__(
        self,
        folder_uris: Callable[[], Iterable[str]],
        documents: Callable[[], Iterable[Document]],
        reason_to_exclude: Callable[[str], str | None],
        *,
        use_git: bool,
    ) -> None:
        """`reason_to_exclude` returns why the file of a URI must not be read, None if it may be."""
        self._use_git = use_git
        self._folder_uris = folder_uris
        self._documents = documents
        self._reason_to_exclude = reason_to_exclude
        self._projects: dict[Path, Project] = {}

    async def add_project_context(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with its path in its project and excerpts of related files.

        The cells of a notebook and documents outside of the workspace stay as they are.
        """
        location = None if snapshot.cells else self._locate(snapshot.uri)
        if location is None:
            return snapshot
        project, path = location
        return await project.add_project_context(snapshot, path, self._open_files(project))

    def close_document(self, uri: str) -> None:
        """Use the file on disk again instead of the closed document."""
        if (location := self._locate(uri)) is not None:
            project, path = location
            project.close(uri, path)

    def stop(self) -> None:
        """Stop reading files."""
        for project in self._projects.values():
            project.stop()

    def _locate(self, uri: str) -> tuple[Project, str] | None:
        """Return a document's project and its path there, None if it is in no folder."""
        file = file_of(uri)
        if file is None:
            return None
        roots = [root for uri in self._folder_uris() if (root := folder_of(uri)) is not None]
        parents = [root for root in roots if file.is_relative_to(root)]
        if not parents:
            return None
        root = max(parents, key=lambda parent: len(parent.parts))
        if root not in self._projects:
            self._projects[root] = Project(root, self._allowed_in(root), use_git=self._use_git)
        return self._projects[root], file.relative_to(root).as_posix()

    def _allowed_in(self, root: Path) -> Callable[[str], bool]:
        return lambda path: self._reason_to_exclude((root / path).as_uri()) is None

    def _open_files(self, project: Project) -> Iterable[OpenFile]:
        for document in self._documents():
            file = file_of(document.uri)
            if file is not None and file.is_relative_to(project.root):
                path = file.relative_to(project.root).as_posix()
                language = document.language_id or ""
                yield OpenFile(path, language, document.source, document.version)

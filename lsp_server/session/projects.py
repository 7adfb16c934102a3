"""The projects whose files an editor has open: one for each workspace folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pygls.uris import to_fs_path

from fim.context.project import OpenFile, Project
from fim.snapshot import Snapshot
from lsp_server.session.documents import Document


class Projects:
    """Finds what helps of other files of a document's project."""

    def __init__(
        self,
        folders: Callable[[], Iterable[str]],
        documents: Callable[[], Iterable[Document]],
        excluded: Callable[[str], str | None],
    ) -> None:
        """`folders` are URIs; `excluded` says why a URI is not to be read, None if it may be."""
        self._folders, self._documents, self._excluded = folders, documents, excluded
        self._projects: dict[Path, Project] = {}

    async def add_project_context(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with its place in its project and what helps of other files.

        As it is where the document is in no folder of the workspace, and for a notebook's cell.
        """
        found = None if snapshot.cells else self._project_of(snapshot.uri)
        if found is None:
            return snapshot
        project, path = found
        return await project.add_project_context(snapshot, path, self._open_in(project))

    def closed(self, uri: str) -> None:
        """A document was closed."""
        if (found := self._project_of(uri)) is not None:
            found[0].close(uri, found[1])

    def stop(self) -> None:
        """End all reading."""
        for project in self._projects.values():
            project.stop()

    def _project_of(self, uri: str) -> tuple[Project, str] | None:
        file = _path(uri)
        if file is None:
            return None
        roots = [root for one in self._folders() if (root := _path(one)) is not None]
        holding = [root for root in roots if file.is_relative_to(root)]
        if not holding:
            return None
        root = max(holding, key=lambda one: len(one.parts))
        if root not in self._projects:
            self._projects[root] = Project(root, self._allowed_in(root))
        return self._projects[root], file.relative_to(root).as_posix()

    def _allowed_in(self, root: Path) -> Callable[[str], bool]:
        return lambda path: self._excluded((root / path).as_uri()) is None

    def _open_in(self, project: Project) -> Iterable[OpenFile]:
        for document in self._documents():
            file = _path(document.uri)
            if file is not None and file.is_relative_to(project.root):
                path = file.relative_to(project.root).as_posix()
                language = document.language_id or ""
                yield OpenFile(path, language, document.source, document.version)


def _path(uri: str) -> Path | None:
    found = to_fs_path(uri) if uri.startswith("file:") else None
    return None if not found else Path(found)

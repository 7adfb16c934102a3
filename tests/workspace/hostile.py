"""Folders whose git configuration names programs. Each program would leave a mark."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Plant = Callable[["HostileFolder"], None]


@dataclass(frozen=True)
class HostileFolder:
    """A repository with a staged change, and a program that creates `mark` when it runs."""

    root: Path
    program: Path
    mark: Path

    def git(self, *arguments: str) -> str:
        """Run git as an attacker does when preparing the repository."""
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def configure(self, name: str, value: str) -> None:
        self.git("config", name, value)


def make_hostile_folder(folder: Path) -> HostileFolder:
    """Return a repository with one commit and one staged change, without any trick yet."""
    root, mark = folder / "project", folder / "executed"
    root.mkdir()
    program = root / "program.sh"
    program.write_text(f"#!/bin/sh\n: > '{mark}'\ncat \"$1\" 2>/dev/null\n")
    program.chmod(0o755)
    hostile = HostileFolder(root, program, mark)
    hostile.git("init", "-q")
    (root / "bread.py").write_text("def bake_bread(flour):\n    return flour\n")
    hostile.git("add", ".")
    hostile.git("commit", "-q", "-m", "bread")
    (root / "bread.py").write_text("def bake_bread(flour, water):\n    return flour\n")
    hostile.git("add", "bread.py")
    return hostile


def _fsmonitor(hostile: HostileFolder) -> None:
    hostile.configure("core.fsmonitor", str(hostile.program))


def _text_converter(hostile: HostileFolder) -> None:
    (hostile.root / ".gitattributes").write_text("*.py diff=evil\n")
    hostile.configure("diff.evil.textconv", str(hostile.program))


def _diff_driver(hostile: HostileFolder) -> None:
    (hostile.root / ".gitattributes").write_text("*.py diff=evil\n")
    hostile.configure("diff.evil.command", str(hostile.program))


def _external_diff(hostile: HostileFolder) -> None:
    hostile.configure("diff.external", str(hostile.program))


def _filter(hostile: HostileFolder) -> None:
    (hostile.root / ".gitattributes").write_text("*.py filter=evil\n")
    hostile.configure("filter.evil.clean", str(hostile.program))
    hostile.configure("filter.evil.smudge", str(hostile.program))
    os.utime(hostile.root / "bread.py", (1, 1))


def _hooks(hostile: HostileFolder) -> None:
    hooks = hostile.root / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "pre-commit", "post-checkout", "reference-transaction"):
        (hooks / name).symlink_to(hostile.program)
    hostile.configure("core.hooksPath", str(hooks))


def _pager(hostile: HostileFolder) -> None:
    for name in ("core.pager", "pager.diff", "pager.log", "pager.ls-files"):
        hostile.configure(name, str(hostile.program))


def _signature(hostile: HostileFolder) -> None:
    commit = hostile.git("cat-file", "commit", "HEAD")
    head, _, message = commit.partition("\n\n")
    signature = "-----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    signed = hostile.root / "signed"
    signed.write_text(f"{head}\ngpgsig {signature}\n\n{message}")
    revision = hostile.git("hash-object", "-t", "commit", "-w", str(signed)).strip()
    hostile.git("update-ref", "HEAD", revision)
    hostile.configure("log.showSignature", "true")
    hostile.configure("gpg.program", str(hostile.program))


def _missing_object(hostile: HostileFolder) -> None:
    """A partial clone: git asks the remote for the missing text of the staged file."""
    entry = hostile.git("ls-files", "-s", "bread.py").split()[1]
    (hostile.root / ".git" / "objects" / entry[:2] / entry[2:]).unlink()
    hostile.configure("core.repositoryFormatVersion", "1")
    hostile.configure("extensions.partialClone", "origin")
    hostile.configure("remote.origin.promisor", "true")
    hostile.configure("remote.origin.url", f"ext::{hostile.program}")
    hostile.configure("remote.origin.uploadpack", str(hostile.program))
    hostile.configure("protocol.allow", "always")
    hostile.configure("protocol.ext.allow", "always")


def _bare_repository(hostile: HostileFolder) -> None:
    """A folder in the form of a bare repository, which a checkout of another one can contain."""
    inner = hostile.root / "docs"
    (hostile.root / ".git").rename(inner)
    config = inner / "config"
    config.write_text(
        config.read_text().replace("bare = false", f"bare = false\n\tworktree = {hostile.root}")
        + f"[core]\n\tfsmonitor = {hostile.program}\n"
    )


TRICKS: dict[str, Plant] = {
    "fsmonitor": _fsmonitor,
    "text converter": _text_converter,
    "diff driver": _diff_driver,
    "external diff": _external_diff,
    "filter": _filter,
    "hooks": _hooks,
    "pager": _pager,
    "signature check": _signature,
    "missing object": _missing_object,
    "bare repository": _bare_repository,
}

"""What an isolated program sees of the file system. All of it is read-only."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from engine.errors import ConfigurationError
from sandbox.command import PRIVATE_FOLDER

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/fonts")
_STORES = ("/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew")
"""Folders of package managers whose packages need each other."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
"""Devices that keep nothing and reach nobody. All may be read and written."""
_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    (PRIVATE_FOLDER, "/dev/shm"),
)
_TEMPORARY = "/tmp"
_OCCUPIED = ("/", "/dev", "/proc", "/sys", _TEMPORARY, PRIVATE_FOLDER)
_OCCUPIED_BELOW = ("/dev/", "/proc/", "/sys/", f"{PRIVATE_FOLDER}/")
_MAX_SPECIAL_FILES = 200


@dataclass(frozen=True, slots=True)
class Layout:
    """The contents of the new root, besides the private folder and /proc."""

    binds: tuple[tuple[str, str], ...]
    """Real paths on the machine, and the paths at which the program sees them."""
    devices: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    """Targets and paths of symbolic links."""
    special_files: tuple[str, ...]
    """FIFOs, sockets and devices in `binds`. They must be hidden: one can write to a FIFO and
    connect to a socket also if they are on a read-only mount."""

    def as_json(self) -> dict[str, object]:
        """Return the fields as lists of strings."""
        return asdict(self)


def layout_for(readable: Iterable[Path], overlays: Mapping[Path, Path] | None = None) -> Layout:
    """Return a layout with the system's programs and libraries, this interpreter, and `readable`.

    `overlays` maps paths below `readable` to files that the program sees there instead, or as well
    if there is nothing at the path. The files may be written again between two runs.

    Raises ConfigurationError if one of the paths cannot be shown.
    """
    base = _interpreter_layout()
    absolute = [Path(os.path.abspath(path)) for path in readable]
    binds = _add(list(base.binds), absolute)
    replaced = {os.path.abspath(path): os.path.realpath(f) for path, f in (overlays or {}).items()}
    binds, links = _with_overlays(binds, len(base.binds), replaced)
    added = [target for _, target in binds[len(base.binds) :] if target not in replaced]
    special = (*base.special_files, *_special_files(added))
    if len(special) > _MAX_SPECIAL_FILES:
        raise ConfigurationError(
            f"{special[-1]} and more than {_MAX_SPECIAL_FILES} others are FIFOs, sockets or "
            "devices. Remove them, or choose a smaller folder."
        )
    links = (*base.links, *links)
    if not any(Path(target).is_relative_to(_TEMPORARY) for _, target in binds):
        links += ((PRIVATE_FOLDER, _TEMPORARY),)
    return Layout(tuple(binds), base.devices, links, special)


@cache
def _interpreter_layout() -> Layout:
    links = [(os.readlink(path), path) for path in _SYSTEM if os.path.islink(path)]
    system = [Path(path) for path in _SYSTEM if os.path.isdir(path) and not os.path.islink(path)]
    files = [Path(path) for path in _SYSTEM_FILES if os.path.exists(path)]
    binds = _add([], [*system, *files])
    count = len(binds)
    binds = _add(binds, _interpreter_folders())
    special = _special_files(target for _, target in binds[count:])
    devices = tuple(path for path in DEVICES if os.path.exists(path))
    return Layout(tuple(binds), devices, (*links, *_LINKS), tuple(special))


def _interpreter_folders() -> Iterator[Path]:
    required = (Path(sys.base_prefix), Path(sys.prefix))
    # Each link of the way must exist for the program too.
    steps = [Path(program).parent.parent for program in link_steps(sys.executable)]
    for prefix in (*required, *steps):
        if contains_home(prefix):
            if prefix in required:
                raise ConfigurationError(
                    f"Python's folder {prefix} contains your home folder, which a sandbox must not "
                    "show. Install starcoder-lsp into a virtual environment."
                )
            continue
        yield prefix
        yield from stores_of(prefix)


def link_steps(program: str) -> Iterator[str]:
    """Return the paths to which the links of a program lead, one after the other."""
    while os.path.islink(program):
        program = os.path.normpath(os.path.join(os.path.dirname(program), os.readlink(program)))
        yield program


def contains_home(path: Path) -> bool:
    """Return whether a folder is the user's home folder or contains it."""
    real, home = os.path.realpath(path), os.path.realpath(Path.home())
    return os.path.commonpath([real, home]) == real


def stores_of(path: Path) -> Iterator[Path]:
    """Return the folders of package managers that contain a program, which needs all of them."""
    real = Path(os.path.realpath(path))
    yield from (Path(store) for store in _STORES if real.is_relative_to(store))


def _add(binds: list[tuple[str, str]], paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Return binds with these paths added, at their own and at their real path."""
    result = list(binds)
    for path in paths:
        real = os.path.realpath(path)
        if not os.path.exists(real):
            raise ConfigurationError(f"{path} does not exist, so a sandbox cannot show it.")
        for target in dict.fromkeys((real, str(path))):
            if _covered(target, result):
                continue
            if target in _OCCUPIED or target.startswith(_OCCUPIED_BELOW):
                raise ConfigurationError(f"A sandbox cannot show {path}. Choose another folder.")
            result.append((real, target))
    return result


def _with_overlays(
    binds: list[tuple[str, str]], num_fixed: int, overlays: Mapping[str, str]
) -> tuple[list[tuple[str, str]], tuple[tuple[str, str], ...]]:
    """Return binds with files in place of others, and links.

    A bind of a folder with such files is replaced by binds of what is in it: nothing can be mounted
    at a path that a read-only folder does not have.
    """
    if not overlays:
        return binds, ()
    result, links = binds[:num_fixed], list[tuple[str, str]]()
    for source, target in binds[num_fixed:]:
        own = {path for path in overlays if Path(path).is_relative_to(target)}
        _split(source, target, own, result, links)
    shown = [target for _, target in binds[num_fixed:]]
    for path, file in overlays.items():
        if not any(Path(path).is_relative_to(folder) for folder in shown):
            raise ConfigurationError(f"{path} is in no folder that the sandbox shows.")
        if _covered(path, result):
            raise ConfigurationError(f"A sandbox cannot show another file at {path}.")
        result.append((file, path))
    return result, tuple(links)


def _split(
    source: str,
    target: str,
    overlays: set[str],
    binds: list[tuple[str, str]],
    links: list[tuple[str, str]],
) -> None:
    """Add binds of a path and of all that it contains, without the paths of overlays."""
    below = {path for path in overlays if Path(path).is_relative_to(target)}
    if not below:
        binds.append((source, target))
        return
    if target in overlays or not os.path.isdir(source):
        return
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        path = os.path.join(target, entry.name)
        if path in overlays:
            continue
        if entry.is_symlink():
            links.append((os.readlink(entry.path), path))
        else:
            _split(entry.path, path, below, binds, links)


def _covered(target: str, binds: Iterable[tuple[str, str]]) -> bool:
    system_links = [path for path in _SYSTEM if os.path.islink(path)]
    roots = [*system_links, *(shown for _, shown in binds)]
    return any(Path(target).is_relative_to(root) for root in roots)


def _special_files(trees: Iterable[str]) -> list[str]:
    """Return the FIFOs, sockets and devices in trees, without following links."""
    special = []
    pending = []
    for tree in trees:
        mode = os.lstat(tree).st_mode
        if stat.S_ISDIR(mode):
            pending.append(tree)
        elif not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            special.append(tree)
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif not entry.is_file(follow_symlinks=False) and not entry.is_symlink():
                        special.append(entry.path)
        except PermissionError:
            continue  # the program cannot read it either
    return special

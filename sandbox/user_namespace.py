"""A user namespace in which a process may mount, and in which a program is nobody."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox import linux
from sandbox.command import NOBODY


def enter_user_namespace(other_namespaces: int) -> None:
    """Move this process into a new user namespace, and into other new namespaces.

    It has all capabilities there, for mounts and networks of the new namespaces only. A usual user
    is `NOBODY` inside. Root stays 0 inside, because it must reach its own folders; it can become
    `NOBODY` inside and outside, and has to before it runs a program: Linux limits the number of
    processes for everyone except root.
    """
    if os.getuid() == 0 and (maps := _identity_maps()) is not None:
        _enter_as_root(other_namespaces, maps)
        return
    uid, gid = os.getuid(), os.getgid()
    linux.unshare(linux.NEW_USER | other_namespaces)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")


def _enter_as_root(other_namespaces: int, maps: dict[str, str]) -> None:
    # Only a process outside may map more than one id.
    process, (entered_read, entered_write) = os.getpid(), os.pipe()
    outside = os.fork()
    if outside == 0:
        os.close(entered_write)
        if os.read(entered_read, 1):
            for name, lines in maps.items():
                Path(f"/proc/{process}/{name}").write_text(lines)
            os._exit(0)
        os._exit(1)
    linux.unshare(linux.NEW_USER | other_namespaces)
    os.write(entered_write, b"1")
    os.close(entered_write)
    os.close(entered_read)
    if os.waitpid(outside, 0)[1] != 0:
        raise OSError("root may not map user ids")


def _identity_maps() -> dict[str, str] | None:
    """Return lines that map each id to itself, None if `NOBODY` does not exist."""
    maps = {}
    for name in ("uid_map", "gid_map"):
        rows = [line.split() for line in Path(f"/proc/self/{name}").read_text().splitlines()]
        extents = [(int(first), int(count)) for first, _, count in rows]
        if not any(first <= NOBODY < first + count for first, count in extents):
            return None
        maps[name] = "".join(f"{first} {first} {count}\n" for first, count in extents)
    return maps

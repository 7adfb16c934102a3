"""Linux system calls that Python does not offer. Each raises OSError with what it was doing."""

from __future__ import annotations

import ctypes
import os
import struct

# linux/sched.h
NEW_MOUNTS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
# linux/mount.h
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXECUTION = 0x1, 0x2, 0x4, 0x8
"""Flags of mount(2), and with the same values MOUNT_ATTR_* of mount_setattr(2)."""
_BIND, _RECURSIVE, _PRIVATE, _DETACH = 0x1000, 0x4000, 1 << 18, 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SYS_MOUNT_SETATTR = 442
"""The number of the system call on all processors except Alpha, since Linux 5.12."""
# linux/prctl.h
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_SECCOMP, _MODE_FILTER = 1, 4, 22, 2

_libc = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def unshare(flags: int) -> None:
    """Move this process into new namespaces; a PID namespace begins with its next child."""
    _check(_libc.unshare(flags), "unshare")


def make_mounts_private() -> None:
    """Keep mounts and unmounts of this mount namespace from reaching any other."""
    _check(_libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None), "mount --make-rprivate /")


def mount(kind: str, path: str, flags: int, options: str = "") -> None:
    """Mount a new file system of a kind without a device."""
    name = kind.encode()
    _check(_libc.mount(name, os.fsencode(path), name, flags, options.encode()), f"mount {path}")


def bind(source: str, target: str) -> None:
    """Show the tree at `source` also at `target`."""
    flags = _BIND | _RECURSIVE
    paths = (os.fsencode(source), os.fsencode(target))
    _check(_libc.mount(*paths, None, flags, None), f"mount --bind {source}")


def restrict_mount(path: str, attributes: int, *, recursive: bool) -> None:
    """Set attributes of the mount at `path`, and of all mounts in it if `recursive`."""
    structure = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), flags, structure, len(structure)
    )
    _check(result, f"mount_setattr {path}")


def unmount(path: str) -> None:
    """Detach a mount with all mounts in it."""
    _check(_libc.umount2(os.fsencode(path), _DETACH), f"umount {path}")


def pivot_root(new_root: str, old_root: str) -> None:
    """Make `new_root` the root, and show the old one at `old_root`."""
    _check(_libc.pivot_root(os.fsencode(new_root), os.fsencode(old_root)), "pivot_root")


def die_with_parent(signal: int) -> None:
    """Get a signal when the thread that started this process ends."""
    _check(_libc.prctl(_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def forbid_inspection() -> None:
    """Keep processes of the same user from reading or changing the memory of this one."""
    _check(_libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def filter_system_calls(program: bytes) -> None:
    """Filter the system calls of this process and its children by a program for seccomp."""
    structure = _Filter(len(program) // 8, program)
    _check(_libc.prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.byref(structure), 0, 0), "seccomp")


def _check(result: int, action: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{action}: {os.strerror(number)}")

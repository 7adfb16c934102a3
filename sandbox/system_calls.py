"""The system calls that an isolated program may not make, by processor.

Everything else is allowed: the filter protects the kernel and closes the ways around the
namespaces. It is not what keeps a program away from files, processes and networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Processor:
    """How a processor numbers its system calls."""

    audit_arch: int
    """AUDIT_ARCH_* of linux/audit.h."""
    column: int
    """Index of its numbers in `SEPARATE`."""


PROCESSORS: Mapping[str, Processor] = {
    "x86_64": Processor(0xC000003E, 0),
    "aarch64": Processor(0xC00000B7, 1),
}
"""By the names of `platform.machine()`."""

LAST_KNOWN = 469
"""The last number that this list knows, of Linux 6.18. Newer calls answer as on an older kernel."""

COMMON: Mapping[str, int] = {
    # Mounts.
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
    "fspick": 433, "mount_setattr": 442, "quotactl_fd": 443, "open_tree_attr": 467,
    # Other processes.
    "pidfd_getfd": 438, "process_madvise": 440,
    # Large or young parts of the kernel, with a history of errors.
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    # Memory that no limit counts.
    "memfd_secret": 447,
}  # fmt: skip
"""Numbers that are equal on all processors, since Linux 5.1."""

SEPARATE: Mapping[str, tuple[int | None, int | None]] = {
    # Namespaces and mounts.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "swapon": (167, 224), "swapoff": (168, 225),
    "quotactl": (179, 60), "acct": (163, 89),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # Other processes.
    "ptrace": (101, 117), "kcmp": (312, 272),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # Keys of the user.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # Large or young parts of the kernel, with a history of errors.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "fanotify_init": (300, 262), "personality": (135, 92),
    "modify_ldt": (154, None), "iopl": (172, None), "ioperm": (173, None),
    # The machine.
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "syslog": (103, 116), "vhangup": (153, 58),
    "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    # Memory that no limit counts: it belongs to no process and to no folder.
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
}  # fmt: skip
"""Numbers in the order of `Processor.column`, None where a processor does not have a call."""

FILTERED: Mapping[str, tuple[int, int]] = {
    "clone": (56, 220), "clone3": (435, 435), "ioctl": (16, 29),
    "socket": (41, 198), "socketpair": (53, 199),
}  # fmt: skip
"""Calls whose arguments decide; `sandbox.seccomp` has the rules."""


def forbidden(machine: str) -> dict[str, int]:
    """Return the names and numbers of the calls that are never allowed on a processor."""
    column = PROCESSORS[machine].column
    separate = {name: numbers[column] for name, numbers in SEPARATE.items()}
    return {**COMMON, **{name: number for name, number in separate.items() if number is not None}}

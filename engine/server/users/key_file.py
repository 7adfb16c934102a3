"""The file of a server's keys: one per user, with a hash of the key and the user's limits.

A key is 32 random bytes, so the file holds its plain SHA-256: nobody can try 2^256 keys, and a slow
or salted hash protects only secrets that can be guessed, such as passwords. It would also make each
request slow, and each wrong key a way to keep the server busy.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from engine.errors import ConfigurationError, reason_of, value_problem
from engine.private_files import NotPrivateError, open_private_file, write_private_file
from engine.server.limits import MAX_BODY_BYTES, MAX_INT
from engine.server.users.accounts import Limits

SHARED_USER = "shared-token"
"""Name of the user of the shared token, if there are keys too."""

_PREFIX = "sk-starcoder-"
"""Start of each key, by which programs that search for leaked secrets can recognize it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MAX_BYTES = 8 * 2**20
_LOCK_SECONDS = 10.0
_AS_OWNER = "Check its folder, and run the command as the user of the server."
_RESTORE = "Restore it from a copy, or move it away and create the keys again."
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH

_Count = Annotated[int, Field(strict=True, ge=0, le=MAX_INT)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredLimits(_Strict):
    """Limits of one user, as the file has them; 0 is no limit."""

    requests_per_minute: _Count | None = None
    tokens_per_minute: _Count | None = None
    parallel_requests: _Count | None = None
    body_bytes: Annotated[int, Field(strict=True, ge=0, le=MAX_BODY_BYTES)] | None = None

    @property
    def limits(self) -> Limits:
        """The same limits for an account."""
        return Limits(**self.model_dump())


class KeyEntry(_Strict):
    """One user."""

    name: Annotated[str, Field(pattern=rf"^{_NAME.pattern}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the key, in hexadecimal digits."""
    created: AwareDatetime
    limits: StoredLimits = StoredLimits()


class _Content(_Strict):
    version: Literal[1] = 1
    keys: tuple[KeyEntry, ...] = ()


def hash_of(key: bytes) -> str:
    """Return the hash of a key, as the file has it."""
    return hashlib.sha256(key).hexdigest()


def read_key_file(path: Path) -> bytes:
    """Return the bytes of a key file.

    Raises ConfigurationError if it cannot be read, or if other users may read or write it.
    """
    try:
        with os.fdopen(open_private_file(path, os.O_RDONLY), "rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _OTHERS_READ:
                raise ConfigurationError(
                    f"Other users may read the key file {path}. Run: chmod 600 {path}"
                )
            content = file.read(_MAX_BYTES + 1)
    except NotPrivateError as error:
        raise ConfigurationError(
            f"The key file {path} {error.problem}. It must be an ordinary file that only the user "
            "of the server can read and write. Run the command as this user."
        ) from None
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no key file {path}. Create one with: starcoder-lsp keys create NAME "
            f"--keys {path}"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"The key file {path} cannot be read: {reason_of(error)}. {_AS_OWNER}"
        ) from None
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(
            f"The key file {path} is larger than {_MAX_BYTES:,} bytes. {_RESTORE}"
        )
    return content


def parse_key_file(content: bytes, path: Path) -> tuple[KeyEntry, ...]:
    """Return the users of a key file. Raises ConfigurationError for a damaged one."""
    try:
        entries = _Content.model_validate_json(content).keys
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, detail["loc"]))
        is_json = detail["type"] != "json_invalid"
        problem = f"{place}: {value_problem(detail)}" if is_json else "it is not valid JSON"
        raise ConfigurationError(f"The key file {path} is damaged: {problem}. {_RESTORE}") from None
    for values in ([entry.name for entry in entries], [entry.sha256 for entry in entries]):
        if len(set(values)) < len(values):
            raise ConfigurationError(
                f"The key file {path} is damaged: two users have the same name or key. {_RESTORE}"
            )
    return entries


def list_keys(path: Path) -> tuple[KeyEntry, ...]:
    """Return the users of a key file. Raises ConfigurationError if it cannot be used."""
    return parse_key_file(read_key_file(path), path)


def create_key(path: Path, name: str, limits: StoredLimits) -> str:
    """Add a user to a key file, which is created if there is none, and return the new key.

    Raises ConfigurationError for a name that is invalid or in use, and for a file that cannot be
    used.
    """
    _check_name(name)
    key = _PREFIX + secrets.token_urlsafe(32)
    with _changing(path) as entries:
        if any(entry.name == name for entry in entries):
            raise ConfigurationError(
                f"{name} has a key already. Revoke it first: starcoder-lsp keys revoke {name} "
                f"--keys {path}"
            )
        now = datetime.now(UTC).replace(microsecond=0)
        entries.append(
            KeyEntry(name=name, sha256=hash_of(key.encode()), created=now, limits=limits)
        )
    return key


def revoke_key(path: Path, name: str) -> None:
    """Remove a user from a key file. Raises ConfigurationError if the file does not have it."""
    read_key_file(path)  # a missing file stays missing
    with _changing(path) as entries:
        rest = [entry for entry in entries if entry.name != name]
        if len(rest) == len(entries):
            raise ConfigurationError(
                f"The key file {path} has no user of this name. To list its users: starcoder-lsp "
                f"keys list --keys {path}"
            )
        entries[:] = rest


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None or name == SHARED_USER:
        raise ConfigurationError(
            "A user's name has 1 to 64 letters, digits, dots, underscores, hyphens and @, and "
            f"starts with a letter or digit; {SHARED_USER} is reserved. Choose another name."
        )


@contextmanager
def _changing(path: Path) -> Iterator[list[KeyEntry]]:
    """Yield the users of a file, and write the changed list; no other process changes it then."""
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=_LOCK_SECONDS, mode=0o600)
    try:
        with lock:
            entries = list(list_keys(path)) if path.exists() or path.is_symlink() else []
            yield entries
            write_private_file(path, _encode(entries))
    except Timeout:
        raise ConfigurationError(
            f"Another program has been changing {path} for {_LOCK_SECONDS:.0f} s. Try again."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"The key file {path} cannot be written: {reason_of(error)}. {_AS_OWNER}"
        ) from None


def _encode(entries: Sequence[KeyEntry]) -> bytes:
    content = _Content(keys=tuple(entries))
    return (content.model_dump_json(indent=2, exclude_none=True) + "\n").encode()

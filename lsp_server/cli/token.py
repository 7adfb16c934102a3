"""The access token of `serve` and `--tcp`: from a file, the environment or the command line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engine.errors import ConfigurationError

TOKEN_VARIABLE = "STARCODER_LSP_TOKEN"
"""The environment variable that contains the token."""

_MAX_BYTES = 4096


def choose_token(token: str | None, file: Path | None) -> str | None:
    """Return the token of a file or else `token`; None if there is neither.

    Raises ConfigurationError for a token that is empty or that no HTTP header can contain.
    """
    source = "The token"
    if file is not None:
        token, source = read_token(file), f"The token in {file}"
    if token is None:
        return None
    if not token:
        raise ConfigurationError(f"{source} is empty. Choose a long random one.")
    if not all("!" <= letter <= "~" for letter in token):
        raise ConfigurationError(
            f"{source} contains white space or characters outside ASCII, which no HTTP header can "
            "contain. Choose another one."
        )
    return token


def read_token(file: Path) -> str:
    """Return the content of a file without the line feed at its end.

    Raises ConfigurationError if the file cannot be read, or if other users may read it: as with
    the private keys of ssh, a warning in a log would go unnoticed.
    """
    try:
        with file.open("rb") as stream:
            state = os.fstat(stream.fileno())
            if stat.S_ISREG(state.st_mode) and state.st_mode & (stat.S_IRGRP | stat.S_IROTH):
                raise ConfigurationError(
                    f"Other users may read the token in {file}. Run: chmod 600 {file}"
                )
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigurationError(f"{file} is too long for a token.")
        return content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigurationError(
            f"The token file {file} cannot be read: {error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} does not contain text.") from None

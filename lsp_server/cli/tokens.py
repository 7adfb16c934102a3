"""Secrets for commands: from a file or the environment, since others can see a command line."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import ConfigurationError

TOKEN_VARIABLE = "STARCODER_LSP_TOKEN"


def read_secret(file: Path | None, variable: str) -> str | None:
    """Return the secret in a file, else that in an environment variable, None without any.

    White space around it is removed, because editors end a file with a line feed. Raises
    ConfigurationError if the file cannot be read or a secret is empty or has other characters than
    printable ASCII.
    """
    secret, source = os.environ.get(variable), variable
    if file is not None:
        source = str(file)
        try:
            secret = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigurationError(f"The token in {file} cannot be read ({reason}).") from None
    if secret is None:
        return None
    secret = secret.strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConfigurationError(
            f"{source} holds no token. A token is one line of printable ASCII characters, such as "
            "the output of: openssl rand -hex 32"
        )
    return secret

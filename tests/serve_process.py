"""A real `starcoder-lsp serve`, as an administrator starts it, and certificates for it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_ADDRESS = re.compile(r"listening on (https?://\S+)/v1")


@dataclass
class ServeProcess:
    """The process, and where its log is."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """Everything that it has logged."""
        return self.log_file.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """The address from its log."""
        return self.wait_for(_ADDRESS)[1]

    def wait_for(self, pattern: str | re.Pattern[str], seconds: float = 60.0) -> re.Match[str]:
        """Wait until the log has a match, and return it."""
        deadline = time.monotonic() + seconds
        while (match := re.search(pattern, self.log)) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return match

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end and return its status."""
        return self.process.wait(seconds)


@contextmanager
def serve_process(
    folder: Path, model: Path | str, *options: str, terminal: int | None = None
) -> Iterator[ServeProcess]:
    """Serve a model on a free port of loopback inside the block; its log is in the folder.

    `terminal` is the descriptor of the terminal that controls the process; by default it has none,
    as under a service manager.
    """

    def take_terminal() -> None:
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    log_file = folder / "serve.log"
    command = [sys.executable, "-P", "-m", "lsp_server", "serve", "--model", str(model)]
    with log_file.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--port", "0", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "NO_COLOR": "1"},
            start_new_session=True,
            preexec_fn=take_terminal,
        )
    try:
        yield ServeProcess(process, log_file)
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Identity:
    """A certificate for localhost, its key, and the certificate of the authority."""

    certificate: Path
    key: Path
    authority: Path


def make_identity(folder: Path, name: str = "server") -> Identity:
    """Write a private authority and a certificate of it for localhost and 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl, which makes the certificates")
    authority, key = folder / f"{name}-ca.pem", folder / f"{name}.key"
    request, certificate = folder / f"{name}.csr", folder / f"{name}.pem"
    names = folder / f"{name}.ext"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority_key = folder / f"{name}-ca.key"
    openssl(*new, "-x509", "-days", "2", "-subj", f"/CN=authority of {name}",
            "-keyout", authority_key, "-out", authority)  # fmt: skip
    openssl(*new, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    openssl("x509", "-req", "-days", "2", "-in", request, "-CA", authority, "-CAkey",
            authority_key, "-CAcreateserial", "-extfile", names, "-out", certificate)  # fmt: skip
    key.chmod(0o600)
    return Identity(certificate, key, authority)


def openssl(*arguments: str | Path) -> None:
    """Run a command of openssl."""
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)

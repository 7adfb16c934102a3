"""The certificate and private key with which the server speaks TLS."""

from __future__ import annotations

import logging
import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigurationError, reason_of

log = logging.getLogger(__name__)

_NOT_FOR_OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP
"""Mode bits that a private key may not have.

Its group may read it: that is how Debian's group `ssl-cert` gives servers access to keys.
"""
_MISMATCH = "KEY_VALUES_MISMATCH"
"""OpenSSL's reason for a key that belongs to another certificate."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a server's identity, in PEM format."""

    certificate: Path
    """The server's certificate, followed by the intermediate certificates of its authority."""
    key: Path
    """The private key, without a passphrase."""

    def context(self) -> ssl.SSLContext:
        """Return a context with the certificate and key that the files contain now.

        Raises ConfigurationError with a sentence that says which file cannot be used and why.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # TLS 1.2 and 1.3
        context.set_alpn_protocols(["http/1.1"])
        self._load_into(context)
        return context

    def renew(self, context: ssl.SSLContext) -> None:
        """Give new connections of a context the certificate and key that the files contain now.

        Raises ConfigurationError, and then leaves the context as it is.
        """
        renewed = self.context()

        # A context has a certificate for each kind of key. Loading an RSA certificate into this
        # one would leave an ECDSA certificate there, which clients prefer. So each handshake
        # takes a new context. OpenSSL calls this also for clients that name no server.
        def choose(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            connection.context = renewed

        context.sni_callback = choose

    def _load_into(self, context: ssl.SSLContext) -> None:
        certificate, key = _read(self.certificate, "certificate"), _read_key(self.key)
        if b"-----BEGIN CERTIFICATE-----" not in certificate:
            raise ConfigurationError(
                f"{self.certificate} contains no certificate in PEM format. --tls-cert takes the "
                "certificate, and --tls-key the private key."
            )
        if b"PRIVATE KEY-----" not in key:
            raise ConfigurationError(
                f"{self.key} contains no private key in PEM format. --tls-cert takes the "
                "certificate, and --tls-key the private key."
            )
        is_encrypted = False

        def passphrase() -> bytes:
            nonlocal is_encrypted
            is_encrypted = True
            return b""

        try:
            context.load_cert_chain(self.certificate, self.key, passphrase)
        except (ssl.SSLError, OSError) as error:
            raise self._refused(error, is_encrypted) from None

    def _refused(self, error: OSError, is_encrypted: bool) -> ConfigurationError:
        if is_encrypted:
            return ConfigurationError(
                f"The private key in {self.key} has a passphrase, which the server cannot ask for. "
                f"Write one without: openssl pkey -in {self.key} -out NEW.pem"
            )
        if isinstance(error, ssl.SSLError) and error.reason == _MISMATCH:
            return ConfigurationError(
                f"The private key in {self.key} does not belong to the certificate in "
                f"{self.certificate}. If that file has several certificates, the server's own "
                "comes first."
            )
        return ConfigurationError(
            f"The certificate in {self.certificate} or the private key in {self.key} is damaged, "
            "or of a kind that OpenSSL does not know. Create them again."
        )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The {what} {path} cannot be read: {reason_of(error)}.") from None


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if stat.S_ISREG(state.st_mode) and state.st_mode & _NOT_FOR_OTHERS:
                raise ConfigurationError(
                    f"All users of this machine may read or change the private key in {path}. "
                    f"Run: chmod 600 {path}"
                )
            return file.read()
    except OSError as error:
        raise ConfigurationError(
            f"The private key {path} cannot be read: {reason_of(error)}."
        ) from None

"""TLS: certificates that cannot be used, a private authority, and renewal without a restart."""

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import EngineState
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.errors import ConfigurationError
from engine.server.operation.tls import TlsFiles
from tests.serve_process import Identity, make_identity, openssl, serve_process


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def files(identity: Identity, tmp_path: Path) -> TlsFiles:
    """Copies that a test may damage."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(identity.certificate, certificate)
    shutil.copy(identity.key, key)
    key.chmod(0o600)
    return TlsFiles(certificate, key)


def encrypt(files: TlsFiles) -> None:
    plain = files.key.with_name("plain.pem")
    files.key.rename(plain)
    openssl("pkey", "-in", plain, "-aes256", "-passout", "pass:secret", "-out", files.key)
    files.key.chmod(0o600)


def swap(files: TlsFiles) -> None:
    key = files.key.read_bytes()
    files.key.write_bytes(files.certificate.read_bytes())
    files.certificate.write_bytes(key)


def exchange_key(files: TlsFiles) -> None:
    shutil.copy(make_identity(files.key.parent, "other").key, files.key)
    files.key.chmod(0o600)


def cut(path: Path) -> None:
    text = path.read_text()
    path.write_text(text[: len(text) // 2] + "\n-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda files: files.certificate.unlink(), "certificate .* cannot be read: no such file"),
        (lambda files: files.key.unlink(), "private key .* cannot be read: no such file"),
        (lambda files: files.certificate.write_text("x"), "no certificate in PEM"),
        (lambda files: files.key.write_text("x"), "no private key in PEM"),
        (lambda files: files.key.chmod(0o644), "All users .*chmod 600"),
        (lambda files: files.key.chmod(0o602), "All users .*chmod 600"),
        (lambda files: files.key.chmod(0o660), "All users .*chmod 600"),
        (encrypt, "has a passphrase"),
        (swap, "no certificate in PEM"),
        (exchange_key, "does not belong to the certificate"),
        (lambda files: cut(files.certificate), "damaged"),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_a_sentence(
    files: TlsFiles, damage: Callable[[TlsFiles], None], message: str
) -> None:
    damage(files)
    with pytest.raises(ConfigurationError, match=message) as raised:
        files.context()
    assert raised.value.user_message.endswith((".", ".pem"))
    assert "\n" not in raised.value.user_message


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_key_for_the_server_and_its_group_is_accepted(files: TlsFiles, mode: int) -> None:
    files.key.chmod(mode)
    assert files.context().minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_failed_renewal_leaves_the_context_as_it_is(files: TlsFiles) -> None:
    context = files.context()
    exchange_key(files)
    with pytest.raises(ConfigurationError):
        files.renew(context)


def served_certificate(context: ssl.SSLContext) -> bytes:
    """What a client receives in a handshake that names no server."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    certificate = client.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def test_a_renewed_certificate_may_have_another_kind_of_key(
    files: TlsFiles, tmp_path: Path
) -> None:
    context = files.context()
    before = served_certificate(context)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=rsa",
            "-keyout", files.key, "-out", files.certificate)  # fmt: skip
    files.renew(context)
    renewed = ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
    assert served_certificate(context) == renewed != before
    exchange_key(files)
    with pytest.raises(ConfigurationError):
        files.renew(context)
    assert served_certificate(context) == renewed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tls-cert", "a"), "belong together"),
        (("--tls-key", "a"), "belong together"),
        (("--tls-cert", "a", "--tls-key", "b", "--uds", "s"), "Unix socket"),
        (("--tls-cert", "a", "--tls-key", "b"), "certificate a cannot be read"),
    ],
)
def test_options_that_do_not_fit_end_the_process(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "lsp_server", "serve", "--model", "demo", "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": os.getcwd()},
        check=False,
    )
    assert process.returncode == 1
    (line,) = [line for line in process.stderr.splitlines() if "error:" in line]
    assert message in line


async def probe(url: str) -> EngineState | str:
    """What the language server's client sees: the state, or why it sees none."""
    engine = HttpEngine(Endpoint(url))
    try:
        health = await engine.health()
    finally:
        await engine.aclose()
    return health.detail if health.state is EngineState.FAILED else health.state


async def test_the_client_trusts_a_private_authority_and_a_renewed_certificate(
    files: TlsFiles, identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    with serve_process(tmp_path, "demo", *options) as server:
        url = server.url
        assert url.startswith("https://")
        refused = await probe(url)
        assert "authority that this machine does not know" in refused, refused
        monkeypatch.setenv("SSL_CERT_FILE", str(identity.authority))
        assert await probe(url) in (EngineState.STARTING, EngineState.LOADING, EngineState.READY)

        renewed = make_identity(tmp_path, "renewed")
        shutil.copy(renewed.certificate, files.certificate)
        server.send(signal.SIGHUP)  # half of the renewal: the key does not belong to it
        server.wait_for("certificate stays as it is: .*does not belong")
        assert isinstance(await probe(url), EngineState)
        shutil.copy(renewed.key, files.key)
        server.send(signal.SIGHUP)
        server.wait_for("new connections get the certificate")
        assert "authority that this machine does not know" in await probe(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(renewed.authority))
        assert isinstance(await probe(url), EngineState)

"""A server whose certificate cannot be trusted: what is wrong with it, and what to set."""

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from engine.api import EngineState
from engine.client.endpoint import Endpoint
from engine.client.remote import RemoteEngine
from engine.client.remote_model import RemoteModel
from tests.remote_server import Server, write_tokenizer

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


async def served(authority: trustme.CA, host: str, not_after: datetime | None = None) -> Server:
    server = Server()
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, not_after=not_after).configure_cert(server.context)
    await server.start()
    return server


async def state_of(folder: Path, url: str) -> tuple[EngineState, str]:
    engine = RemoteEngine(Endpoint(url), RemoteModel(None, write_tokenizer(folder / "model")))
    health = await engine.health()
    await engine.aclose()
    return health.state, health.detail


@pytest.mark.parametrize(
    ("host", "not_after", "is_trusted", "words"),
    [
        ("127.0.0.1", None, False, "does not know.*SSL_CERT_FILE"),
        ("127.0.0.1", YESTERDAY, True, "expired.*administrator"),
        ("other.example", None, True, r"another host.*starcoder\.engineUrl"),
        ("127.0.0.1", None, True, ""),
    ],
)
async def test_each_fault_of_a_certificate_has_its_own_advice(
    host: str,
    not_after: datetime | None,
    is_trusted: bool,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    server = await served(authority, host, not_after)
    state, detail = await state_of(tmp_path, server.url)
    await server.stop()
    assert state is (EngineState.FAILED if words else EngineState.READY), detail
    assert re.search(words, detail), detail


async def test_a_url_without_https_is_noticed(tmp_path: Path) -> None:
    server = await served(trustme.CA(), "127.0.0.1")
    state, detail = await state_of(tmp_path, server.url.replace("https", "http"))
    await server.stop()
    assert state is EngineState.FAILED
    assert "with https://" in detail

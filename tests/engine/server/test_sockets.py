"""The sockets of an engine: only a stale socket of one's own is replaced."""

import os
import socket
import stat
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from engine.server.tcp_socket import tcp_socket
from engine.unix_socket import unix_socket
from tests.conftest import OPTIONAL


def make_stale(path: Path) -> None:
    """Create a socket on which nobody answers, as a killed process leaves it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        bound.bind(str(path))


class TestUnixSocket:
    def test_only_its_owner_may_open_it_and_it_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "engine.sock"
        with unix_socket(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert os.listdir(tmp_path) == []

    def test_a_stale_socket_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "engine.sock"
        make_stale(path)
        with unix_socket(path), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    def test_a_live_socket_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "engine.sock"
        with unix_socket(path):
            with pytest.raises(ConfigurationError, match="Another process listens"):
                unix_socket(path).__enter__()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    def test_an_ordinary_file_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "notes"
        path.write_text("mine")
        with pytest.raises(ConfigurationError, match="not a socket"):
            unix_socket(path).__enter__()
        assert path.read_text() == "mine"

    @pytest.mark.parametrize("kind", ["file", "socket", "nothing"])
    def test_a_link_is_not_followed(self, tmp_path: Path, kind: str) -> None:
        target, link = tmp_path / "target", tmp_path / "link"
        if kind == "file":
            target.write_text("mine")
        elif kind == "socket":
            make_stale(target)
        link.symlink_to(target)
        with pytest.raises(ConfigurationError, match="not a socket"):
            unix_socket(link).__enter__()
        assert link.is_symlink()
        assert target.exists() == (kind != "nothing")

    def test_no_folder_is_created(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="Create it first"):
            unix_socket(tmp_path / "a" / "engine.sock").__enter__()
        assert os.listdir(tmp_path) == []

    def test_a_path_that_is_too_long_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="can listen"):
            unix_socket(tmp_path / ("x" * 120)).__enter__()

    def test_the_socket_of_a_successor_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "engine.sock"
        with unix_socket(path):
            path.unlink()
            make_stale(path)
        assert path.exists()

    @pytest.mark.skipif(os.getuid() != 0, reason=f"{OPTIONAL}needs root to act as another user")
    def test_the_socket_of_another_user_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "engine.sock"
        make_stale(path)
        os.chown(path, 12345, 12345)
        with pytest.raises(ConfigurationError, match="another user"):
            unix_socket(path).__enter__()
        assert path.exists()


class TestTcpSocket:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "192.0.2.1", "::ffff:0.0.0.0"])
    def test_an_address_that_others_can_reach_requires_a_token(self, host: str) -> None:
        with pytest.raises(ConfigurationError, match="token"):
            tcp_socket(host, 0, True).__enter__()

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.5", "::1"])
    def test_loopback_requires_none(self, host: str) -> None:
        if ":" in host and not socket.has_ipv6:
            pytest.skip(f"{OPTIONAL}no IPv6")
        with tcp_socket(host, 0, True) as bound:
            assert bound.getsockname()[1] > 0

    @pytest.mark.parametrize("name", ["localhost", "box.example"])
    def test_the_address_counts_to_which_a_name_resolves(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: addresses)
        with pytest.raises(ConfigurationError, match="token"):
            tcp_socket(name, 0, True).__enter__()

    def test_with_a_token_any_address_may_be_used(self) -> None:
        with tcp_socket("0.0.0.0", 0, False) as bound:
            assert bound.getsockname()[0] == "0.0.0.0"

    @pytest.mark.parametrize("host", ["does-not-exist.invalid", "", "a" * 70, "x y"])
    def test_a_name_that_does_not_resolve_is_refused(self, host: str) -> None:
        with pytest.raises(ConfigurationError, match="cannot listen"):
            tcp_socket(host, 0, True).__enter__()

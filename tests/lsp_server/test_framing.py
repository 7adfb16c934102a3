"""What is not LSP is refused before any of it is parsed as JSON-RPC."""

import asyncio

import pytest

from lsp_server.framing import FramingError, read_body


def read(data: bytes, max_bytes: int = 100) -> bytes | None:
    async def run() -> bytes | None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_body(reader, max_bytes)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 2\r\n",
        b"content-length:2\r\n",
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf8\r\nContent-Length: 2\r\n",
        b"Content-Type: application/vscode-jsonrpc\r\nContent-Length: 2\r\n",
    ],
)
def test_the_headers_of_lsp_are_read(header: bytes) -> None:
    assert read(header + b"\r\n{}rest") == b"{}"


def test_the_end_between_messages_is_no_error() -> None:
    assert read(b"") is None


@pytest.mark.parametrize("length", [100, 1])
def test_lengths_up_to_the_limit_are_read(length: int) -> None:
    assert read(b"Content-Length: %d\r\n\r\n" % length + b" " * length) == b" " * length


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"GET / HTTP/1.1\r\n\r\n",
        b"Host: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 2\r\nOrigin: http://example.org\r\n\r\n{}",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: -2\r\n\r\n{}",
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: 101\r\n\r\n" + b" " * 101,
        b"Content-Length: 99999999999999999999\r\n\r\n{}",
        b"Content-Length: two\r\n\r\n{}",
        b"Content-Length: 0x2\r\n\r\n{}",
        b"Content-Length: 2.0\r\n\r\n{}",
        b"Content-Length: \xd9\xa2\r\n\r\n{}",
        b"Content-Length:\r\n\r\n{}",
        b"Content-Length: 2\n\n{}",
        b"Content-Length: 2\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n{}",
        b"Content-Length: 2\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n{}",
        b"Content-Type: application/vscode-jsonrpc\r\n\r\n{}",
        b"\r\n{}",
        b"{}",
        b"\x16\x03\x01\x02\x00\x01",
        b"\0" * 1000,
        b"a" * 200_000,
        b"Content-Length: 2",
        b"Content-Length: 2\r\n",
    ],
)
def test_anything_else_is_refused_without_repeating_it(data: bytes) -> None:
    with pytest.raises(FramingError) as caught:
        read(data)
    for word in ("localhost", "example", "two", "text/plain", "aaaa"):
        assert word not in str(caught.value)


def test_a_body_that_ends_early_is_an_error() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        read(b"Content-Length: 3\r\n\r\n{}")

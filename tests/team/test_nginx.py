"""docs/team/nginx.conf with a real nginx, in front of two real `serve` processes."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from engine.api import GenerationRequest
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from tests.checkpoint_maker import make_checkpoint
from tests.serve_process import Identity, ServeProcess, make_identity, serve_process
from tests.team.programs import installed_program

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/team/nginx.conf"
TOKEN = {"Authorization": "Bearer secret"}
LONG = {"prompt": "def", "max_tokens": 6000, "temperature": 0, "stream": True}
MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/starcoder.conf;
}}
"""


def nginx_command() -> str:
    return installed_program("nginx", "nginx")


def write_configuration(folder: Path, identity: Identity, port: int, urls: list[str]) -> Path:
    """Write the example with other ports and files."""
    text = EXAMPLE.read_text(encoding="utf-8")
    ports = [url.rpartition(":")[2] for url in urls]
    for old, new in {
        "127.0.0.1:8765": f"127.0.0.1:{ports[0]}",
        "127.0.0.1:8766": f"127.0.0.1:{ports[1]}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/tls/code.example.com.pem": str(identity.certificate),
        "/etc/nginx/tls/code.example.com.key": str(identity.key),
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "starcoder.conf").write_text(text)
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder))
    return main


@dataclass
class Team:
    """nginx, and the two servers that it divides requests between."""

    url: str
    servers: list[ServeProcess]
    authority: Path

    def http(self) -> httpx2.AsyncClient:
        import ssl

        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx2.AsyncClient(base_url=self.url, verify=context, timeout=60)


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    command = nginx_command()
    identity = make_identity(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = make_checkpoint(tmp_path / "model", n_positions=8192)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    with (
        serve_process(folders[0], model, "--token", "secret") as first,
        serve_process(folders[1], model, "--token", "secret") as second,
    ):
        servers = [first, second]
        main = write_configuration(tmp_path, identity, port, [each.url for each in servers])
        for server in servers:
            wait_until_ready(server)
        checked = subprocess.run(
            [command, "-t", "-e", "stderr", "-c", str(main)], capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        assert b"warn" not in checked.stderr, checked.stderr
        nginx = subprocess.Popen([command, "-e", "stderr", "-c", str(main)])
        try:
            wait_for_port(port)
            yield Team(f"https://localhost:{port}", servers, identity.authority)
        finally:
            nginx.terminate()
            nginx.wait()


def wait_until_ready(server: ServeProcess) -> None:
    deadline = time.monotonic() + 60
    while httpx2.get(f"{server.url}/health").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


async def test_output_arrives_token_by_token_and_stops_with_its_client(team: Team) -> None:
    async with (
        team.http() as plain,
        plain.stream("POST", "/v1/completions", json=LONG, headers=TOKEN) as response,
    ):
        assert response.status_code == 200
        started, num_lines = time.monotonic(), 0
        async for line in response.aiter_lines():
            num_lines += line.startswith("data: ")
            if num_lines == 3:
                break
        assert time.monotonic() - started < 2, "the proxy waits for the end"
    async with asyncio.timeout(5):
        logs = ""
        while '"end": "cancelled"' not in logs:
            logs = "".join(server.log for server in team.servers)
            await asyncio.sleep(0.05)


async def test_a_proxy_on_the_same_machine_does_not_open_the_metrics(team: Team) -> None:
    async with team.http() as plain:
        assert (await plain.get("/health")).status_code == 401
        assert (await plain.get("/health", headers=TOKEN)).status_code == 200
        assert (await plain.get("/metrics")).status_code == 404
        assert (await plain.get("/metrics", headers=TOKEN)).status_code == 404
    assert httpx2.get(f"{team.servers[0].url}/metrics").status_code == 200


async def test_a_server_that_ends_is_replaced_by_the_other(team: Team) -> None:
    """An answer that runs goes on, and new requests go to the server that stays."""
    body = {"prompt": "def", "max_tokens": 2}
    async with team.http() as plain:
        async with plain.stream("POST", "/v1/completions", json=LONG, headers=TOKEN) as response:
            lines = response.aiter_lines()
            await anext(lines)
            for server in team.servers:
                metrics = httpx2.get(f"{server.url}/metrics").text
                if "starcoder_num_requests_running 1.0" in metrics:
                    server.send(signal.SIGTERM)
                    server.wait_for("ending; running requests")
            for _ in range(5):
                answer = await plain.post("/v1/completions", json=body, headers=TOKEN)
                assert answer.status_code == 200, answer.text
            assert "data: [DONE]" in [line async for line in lines]
        assert (await plain.post("/v1/completions", json=body, headers=TOKEN)).status_code == 200


async def test_the_language_servers_client_works_through_the_proxy(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(team.authority))
    engine = HttpEngine(Endpoint(team.url, token="secret"))
    ids = (await engine.tokenizer()).encode("def mean(")
    async with aclosing(engine.stream(GenerationRequest(tuple(ids), 8, logprobs=2))) as chunks:
        output = [chunk async for chunk in chunks]
    assert output[-1].usage is not None
    assert output[-1].usage.completion_tokens == 8
    assert sum(len(chunk.logprobs) for chunk in output) == 8
    await engine.aclose()
    assert os.environ["SSL_CERT_FILE"]

"""Our own server as the load benchmark starts it."""

import socket
import subprocess
import sys
import time

import httpx2
import psutil
import pytest

from benchmarks.load.servers import existing_server, our_server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_serve_runs_with_a_key_for_each_user_and_ends_with_the_block() -> None:
    with our_server("demo", free_port(), 3) as server:
        assert server.is_ours
        assert len(set(server.tokens)) == 3
        assert server.token_of(4) == server.tokens[1]
        server.find_processes()
        server.sample_memory()
        assert server.memory[0][1] > 50  # MiB: torch alone takes more
        assert server.processor_seconds() > 0.1
        assert "starcoder_http_requests_total" in server.metrics()
        assert httpx2.get(f"{server.url}/v1/models").status_code == 401
        other = existing_server(f"{server.url}/v1", server.tokens)
        assert (other.model, other.is_ours, other.address) == (server.model, True, server.address)
        assert other.process == server.process
        assert server.process is not None
        pid = server.process.pid
    assert not psutil.pid_exists(pid)


def test_a_server_that_ends_at_its_start_is_an_error_with_its_log() -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="serve ended with"), our_server("/no/model", 1, 1):
        pass
    assert time.monotonic() - started < 60


def test_the_command_says_what_is_missing() -> None:
    command = [sys.executable, "-m", "benchmarks.load", "--server", "vllm", "--users", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode != 0
    assert "--vllm" in run.stderr

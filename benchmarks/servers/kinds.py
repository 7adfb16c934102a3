"""How each server is started with the demo model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.process import convert_to_gguf
from benchmarks.servers.process import ServerProcess, free_port
from engine.loading.on_disk import EMBEDDED_DIR

INSTALLED = Path(
    os.environ.get("STARCODER_LSP_SERVERS_FOLDER", Path(__file__).parents[2] / ".servers")
)
"""The folder into which `make test-servers` installs the servers, one folder for each."""
MODEL = "starcoder-demo"
"""The name under which the servers offer the demo model."""
CONTEXT = 1024
"""The demo model's context window, in tokens."""
SLOTS = 4
"""Requests that a server computes at the same time."""

_READY_S = {"vllm": 240.0, "llama": 60.0, "router": 60.0, "litellm": 120.0}
"""Seconds within which a server must be ready, also on a busy machine."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where servers are installed and where they may write."""

    installed: Path
    scratch: Path

    def program(self, name: str) -> Path:
        """Return the program of a server: `vllm`, `llama`, `router` or `litellm`."""
        return self.installed / _PROGRAMS[name]

    def why_missing(self, name: str) -> str:
        """Return why a server is not installed; an empty text if it is."""
        if self.program(name).exists():
            return ""
        reason = self.installed / f"{name}.reason"
        text = reason.read_text(encoding="utf-8").strip() if reason.exists() else ""
        return f"{name} is not in .servers; {text or '`make test-servers` installs it'}"


_PROGRAMS = {
    "vllm": "vllm/bin/python",
    "llama": "llama/llama-server",
    "router": "router/bin/vllm-router",
    "litellm": "litellm/bin/litellm",
}
NAMES = tuple(_PROGRAMS)


def start_vllm(
    place: Place,
    *,
    name: str = MODEL,
    folder: Path = EMBEDDED_DIR,
    token: str | None = None,
    port: int | None = None,
    stages: int = 1,
) -> ServerProcess:
    """Start vLLM on the CPU in float32. It is ready after about a minute; see `wait_for`.

    `stages` divides the layers between this many processes, each on one processor. vLLM fails at
    the first request to such a server with `--enforce-eager`.
    """
    port = port or free_port()
    options = {
        "model": folder,
        "host": "127.0.0.1",
        "port": port,
        "max-model-len": CONTEXT,
        "max-num-seqs": SLOTS,
        "dtype": "float32",
        "generation-config": "vllm",
        "served-model-name": name,
        "pipeline-parallel-size": stages,
        **({} if token is None else {"api-key": token}),
    }
    module = ["-P", "-m", "vllm.entrypoints.openai.api_server"]
    module += ["--enforce-eager"] if stages == 1 else []
    environment = {
        # What it finds out about the architectures is kept for the next start.
        "VLLM_CACHE_ROOT": str(place.installed / "vllm-cache"),
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
        "VLLM_CPU_OMP_THREADS_BIND": "nobind" if stages == 1 else "|".join(map(str, range(stages))),
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [place.program("vllm"), *module, *_flags(options)]
    return ServerProcess(
        command, place.scratch / f"vllm-{port}", port, token=token, environment=environment
    )


def demo_as_gguf(place: Place) -> Path:
    """Return the demo model as a GGUF file with weights in float32."""
    file = place.scratch / "demo-f32.gguf"
    if not file.exists():
        convert_to_gguf(Path(sys.executable), EMBEDDED_DIR, "f32", file)
    return file


def start_llama(
    place: Place,
    *,
    name: str = MODEL,
    file: Path | None = None,
    token: str | None = None,
    port: int | None = None,
) -> ServerProcess:
    """Start llama.cpp's server in float32, with a context of `CONTEXT` tokens in each slot."""
    port = port or free_port()
    options = {
        "model": file or demo_as_gguf(place),
        "alias": name,
        "host": "127.0.0.1",
        "port": port,
        "ctx-size": SLOTS * CONTEXT,
        "parallel": SLOTS,
        "threads": 1,
        "threads-batch": 1,
        # Flash attention computes in float16.
        "flash-attn": "off",
        "cache-type-k": "f32",
        "cache-type-v": "f32",
        **({} if token is None else {"api-key": token}),
    }
    command = [place.program("llama"), *_flags(options), "--metrics", "--slots"]
    return ServerProcess(command, place.scratch / f"llama-{port}", port, token=token)


def start_router(place: Place, workers: Sequence[ServerProcess]) -> ServerProcess:
    """Start vllm-router before running servers, whose key it passes on from its clients."""
    port, metrics = free_port(), free_port()
    options = {"host": "127.0.0.1", "port": port, "prometheus-port": metrics}
    workers_by_url = ["--worker-urls", *(worker.url for worker in workers)]
    # Round robin sends requests to each of them, so that the tests notice one that fails.
    command: list[object] = [place.program("router"), *_flags(options), *workers_by_url]
    return ServerProcess(
        [*command, "--policy", "round_robin"],
        place.scratch / f"router-{port}",
        port,
        token=workers[0].token,
    )


def start_litellm(place: Place, vllm: ServerProcess, token: str) -> ServerProcess:
    """Start LiteLLM's proxy before a running vLLM. `token` is the key of LiteLLM's clients."""
    port = free_port()
    folder = place.scratch / f"litellm-{port}"
    folder.mkdir(parents=True)
    settings = {
        "model": f"text-completion-openai/{MODEL}",  # passes token ids on
        "api_base": f"{vllm.url}/v1",
        "api_key": vllm.token,
    }
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": settings}],
        "general_settings": {"master_key": token},
    }
    file = folder / "config.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML, too
    options = {"config": file, "host": "127.0.0.1", "port": port}
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
    return ServerProcess(
        [place.program("litellm"), *_flags(options), "--telemetry", "False"],
        folder,
        port,
        token=token,
        environment=environment,
    )


def wait_for(name: str, server: ServerProcess) -> ServerProcess:
    """Return a server of this kind when it is ready. Raises RuntimeError if it does not start."""
    path = {"litellm": "/health/liveliness"}.get(name, "/health")
    try:
        server.wait_until_ready(_READY_S[name], path)
    except RuntimeError:
        server.stop()
        raise
    return server


def _flags(options: dict[str, object]) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]

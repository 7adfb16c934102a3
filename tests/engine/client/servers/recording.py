"""Answers of real servers: how they are recorded, and a real HTTP server that replays them.

To record the answers of a server that runs with the demo model in float32:

    python -m tests.engine.client.servers.recording http://127.0.0.1:8000 vllm

The files were written with vLLM 0.32.0 (`--model engine/embedded --dtype float32 --max-model-len
1024 --generation-config vllm --served-model-name starcoder-demo --enforce-eager`) and with
llama.cpp's server of llama-cpp-python 0.3.36 (`llama-server -m demo.gguf -c 2048 -np 2`). The GGUF
file is from `python benchmarks/peers/llama_script.py convert engine/embedded f32 demo.gguf`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import engine.client.connection
from engine.api import Chunk, Engine, GenerationRequest
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.remote_model import RemoteModel
from engine.tokenizer import Tokenizer
from tests.engine.client.test_http import running

DEMO = Path("engine/embedded")
FOLDER = Path(__file__).parent / "recorded"


def requests(tokenizer: Tokenizer) -> dict[str, GenerationRequest]:
    """The requests whose answers are recorded, by name."""
    end = tokenizer.end_of_text_id
    assert end is not None
    begin, suffix, middle = (
        tokenizer.special_tokens[f"<fim_{name}>"] for name in ("prefix", "suffix", "middle")
    )

    def prompt(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text))

    function = prompt("def add(a, b):\n   ")
    fim = (begin, suffix, *prompt("\n\n\ndef sub(a, b):\n    return a - b\n"), middle, *function)
    stops = frozenset({end})
    return {
        "plain": GenerationRequest(function, 12, logprobs=0),
        "without scores": GenerationRequest(function, 6),
        "alternatives": GenerationRequest(function, 1, logprobs=4),
        "half-typed": GenerationRequest(
            prompt("import os\nimport sys\n\n\ndef main(argv"),
            8,
            stops,
            forced_prefix="):\n",
            logprobs=0,
        ),
        "half-typed word": GenerationRequest(
            prompt("import os\nimport re\nimpo"[:-4]), 8, stops, forced_prefix="impo", logprobs=0
        ),
        "alternatives of a half-typed word": GenerationRequest(
            function, 1, stops, forced_prefix=" re", logprobs=4
        ),
        "end of text": GenerationRequest(fim, 40, stops, logprobs=0),
        "stop id": GenerationRequest(function, 12, frozenset(prompt("def")), logprobs=0),
        "stop text": GenerationRequest(function, 40, stops, ("\n\n",), logprobs=0),
        "single line": GenerationRequest(function, 40, stops, single_line=True, logprobs=0),
        "single line with an exception": GenerationRequest(
            prompt("try:\n    import os\nexcept ImportError"),
            24,
            stops,
            single_line=True,
            continue_line_after=(":",),
        ),
        "several bytes": GenerationRequest(
            prompt("x = ['äöü', '🌍', '🌍', '🌍', '"), 12, logprobs=0
        ),
    }


async def collect(engine: Engine, request: GenerationRequest) -> Chunk:
    """Return the whole output as one chunk."""
    chunks: list[Chunk] = []
    async with aclosing(engine.stream(request)) as stream:
        async for chunk in stream:
            chunks.append(chunk)
    text, ends = "", []
    for chunk in chunks:
        ends += [len(text) + end for end in chunk.ends]
        text += chunk.text
    return Chunk(
        text,
        sum((chunk.ids for chunk in chunks), ()),
        sum((chunk.logprobs for chunk in chunks), ()),
        tuple(ends),
        chunks[-1].finish,
        chunks[-1].usage,
    )


@asynccontextmanager
async def replaying(name: str, folder: Path) -> AsyncIterator[Endpoint]:
    """Serve the recorded answers. A request that was not recorded is refused."""
    recorded = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    answers = {_key(each["path"], each["body"]): each for each in recorded}

    async def answer(request: Request) -> Response:
        content = await request.body()
        recorded_answer = answers.get(
            _key(request.url.path, json.loads(content) if content else None)
        )
        if recorded_answer is None:
            return Response("not recorded", 418)
        return Response(
            recorded_answer["answer"], recorded_answer["status"], media_type=recorded_answer["type"]
        )

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    async with running(app, folder / "replay") as endpoint:
        yield endpoint


def _key(path: str, body: Any) -> str:
    return json.dumps([path, body], sort_keys=True)


class _Recorder(httpx2.AsyncHTTPTransport):
    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        content = await response.aread()
        kind = response.headers.get("content-type")
        answer = content.decode()
        sent = json.loads(request.content) if request.content else None
        path, status = request.url.path, response.status_code
        self.recorded.append(
            {"path": path, "body": sent, "status": status, "type": kind, "answer": answer}
        )
        return httpx2.Response(status, headers={"content-type": kind or ""}, content=content)


async def _record(url: str, name: str) -> None:
    recorder = _Recorder()
    vars(engine.client.connection)["transport_to"] = lambda _: recorder
    client = HttpEngine(Endpoint(url), RemoteModel(tokenizer=DEMO))
    for request in requests(await client.tokenizer()).values():
        await collect(client, request)
    await client.aclose()
    FOLDER.mkdir(exist_ok=True)
    content = json.dumps(recorder.recorded, indent=1, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_record(sys.argv[1], sys.argv[2]))

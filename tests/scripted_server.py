"""The real language server over stdio with a scripted engine, for tests of the protocol alone.

Run as `python -m tests.scripted_server OUTPUT [SECONDS_PER_TOKEN]`. The request `test/requests`
reports the engine's requests, prefetches excepted, and `test/mayRun` whether the user consents to
run generated code.
"""

import sys
from pathlib import Path
from typing import Any

from engine.api import Priority
from engine.errors import RequestError, StarcoderError
from engine.scripted import ScriptedEngine
from lsp_server.logs import set_up_logging
from lsp_server.registration import build_server
from lsp_server.stdio import run_stdio


def main() -> None:
    output, delay = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    engine = ScriptedEngine(lambda _: output.encode().decode("unicode_escape"), delay)
    set_up_logging(None)
    server = build_server(lambda _: engine)

    @server.feature("test/requests")
    def _(*_: object) -> dict[str, object]:
        requests = [each for each in engine.requests if each.priority is not Priority.PREFETCH]
        decode = engine.model_tokenizer.decode
        return {
            "prompts": [list(request.prompt) for request in requests],
            "texts": [decode(request.prompt, skip_special=False) for request in requests],
            "stoppedEarly": engine.stopped_early,
            "tokensWritten": engine.tokens_written,
        }

    @server.feature("test/mayRun")
    async def _(params: Any) -> bool:
        folder = None if params["folder"] is None else Path(params["folder"])
        return await server.consent.may_run(folder, params["what"])

    @server.feature("test/futures")
    async def _(*_: object) -> int:
        return len(server.protocol._request_futures)

    @server.feature("test/crash")
    async def _(*_: object) -> None:
        raise ValueError("secret words of the user")

    @server.feature("test/fail")
    def _(params: Any) -> None:
        kinds = {"plain": StarcoderError, "request": RequestError, "unexpected": ValueError}
        raise kinds[params["how"]]("The disk is full: delete something.")

    sys.exit(run_stdio(server))


if __name__ == "__main__":
    main()

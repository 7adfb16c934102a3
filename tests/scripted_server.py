"""The real language server over stdio with a scripted engine, for tests about the protocol alone.

Run as `python -m tests.scripted_server ANSWER [SECONDS_PER_TOKEN]`. The engine's requests, but for
those that nobody waited for, are reported by the request `test/requests`.
"""

import sys
from typing import Any

from engine.api import Priority
from engine.scripted import ScriptedEngine
from lsp_server.logs import set_up_logging
from lsp_server.stdio import build_server


def main() -> None:
    answer, delay = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    engine = ScriptedEngine(lambda _: answer.encode().decode("unicode_escape"), delay)
    set_up_logging(None)
    server = build_server(lambda _: engine)

    @server.feature("test/requests")
    def _(*_: Any) -> dict[str, Any]:
        asked = [one for one in engine.requests if one.priority is not Priority.PREFETCH]
        return {
            "prompts": [list(request.prompt) for request in asked],
            "texts": [engine.held.decode(one.prompt, skip_special=False) for one in asked],
            "stoppedEarly": engine.stopped_early,
            "tokensWritten": engine.tokens_written,
        }

    @server.feature("test/crash")
    async def _(*_: Any) -> None:
        raise ValueError("secret words of the user")

    server.start_io()


if __name__ == "__main__":
    main()

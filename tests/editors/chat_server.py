"""The real language server over stdio with a scripted engine whose faults a test controls.

Run as `python -m tests.editors.chat_server CONTROL`. CONTROL is a file with JSON, which is read for
each request: `answer`, `delay` (seconds per token), `model`, `limit` (tokens), and `fault`: `down`
(no engine answers), `lost` (the engine ends after half of its answer) or `slow` (the model loads
for ever).
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.api import Chunk, EngineInfo, FinishReason, GenerationRequest
from engine.errors import EngineLostError, EngineStartError
from engine.scripted import ScriptedEngine
from lsp_server.logs import set_up_logging
from lsp_server.registration import build_server
from lsp_server.stdio import run_stdio


class FaultyEngine(ScriptedEngine):
    """Answers as a control file says."""

    def __init__(self, control: Path) -> None:
        super().__init__(lambda _: self._now("answer", "Fine."))
        self._control = control

    def _now(self, key: str, default: Any = None) -> Any:
        return json.loads(self._control.read_text()).get(key, default)

    async def info(self) -> EngineInfo:
        """Return the model that the file names."""
        if self._now("fault") == "down":
            raise EngineStartError("The engine could not be started: no memory is free.")
        while self._now("fault") == "slow":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return replace(await super().info(), model=self._now("model", "scripted"))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the answer in the file, or a part of it."""
        self.seconds_per_token = self._now("delay", 0.0)
        limit, fault = self._now("limit"), self._now("fault")
        num_chunks = 0
        async for chunk in super().generate(request):
            yield chunk
            num_chunks += 1
            if fault == "lost" and num_chunks > len(self._now("answer")) // 2:
                raise EngineLostError("The engine ended. Retry starts it again.")
            if num_chunks == limit:
                yield Chunk("", finish=FinishReason.LENGTH)
                return


def main() -> None:
    control = Path(sys.argv[1])
    control.with_suffix(".pid").write_text(str(os.getpid()))
    set_up_logging(None)
    engine = FaultyEngine(control)
    sys.exit(run_stdio(build_server(lambda _: engine)))


if __name__ == "__main__":
    main()

"""The real language server whose engine says whether it sees a diagnostic: `true` or `false`.

Run as `python -m tests.editors.diagnostics_server TEXT`, with a part of the diagnostic's message.
"""

import sys

from engine.api import GenerationRequest
from engine.scripted import ScriptedEngine
from lsp_server.logs import set_up_logging
from lsp_server.registration import build_server
from lsp_server.stdio import run_stdio


def main() -> None:
    def answer(request: GenerationRequest) -> str:
        prompt = engine.model_tokenizer.decode(request.prompt)
        return "true" if sys.argv[1] in prompt else "false"

    engine = ScriptedEngine(answer)
    set_up_logging(None)
    sys.exit(run_stdio(build_server(lambda _: engine)))


if __name__ == "__main__":
    main()

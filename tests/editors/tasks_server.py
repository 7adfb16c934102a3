"""The real language server with an engine that answers each task on the function `add`.

Tests of tasks in editors run it as `python -m tests.editors.tasks_server [SECONDS [ask]]`, with the
seconds per token. With `ask` it asks for consent after tests were written, and its last stage is
the answer.
"""

import asyncio
import sys

from chat.asker import OnPartial, OnStage
from engine.api import GenerationRequest
from engine.scripted import ScriptedEngine
from lsp_server.registration import build_server
from lsp_server.session.server import StarcoderServer
from lsp_server.session.tasks import TaskRequest, TaskResult
from lsp_server.stdio import run_stdio

DOCUMENTATION = "Add two numbers."
EXPLANATION = "It *adds*."
REVIEW = "Define missing."
TRANSLATION = "func add() int {"
WHAT = "3 tests of add"
ALLOWED, REFUSED = "running 3 tests", "not running the tests"
TESTS = {
    "python": "():\n    assert add(1, 2) == 3\n```",
    "typescript": '", () => {\n  expect(add(1, 2)).toBe(3);\n});\n```',
}
FIXED = {
    "python": "def add(a, b):\n    return a + b\n```",
    "typescript": "export function add(a: number, b: number): number {\n  return a + b;\n}\n```",
}
INSTRUCTION = "Swap the operands."
EDITED = "return b + a\n```"


def main() -> None:
    engine = ScriptedEngine(lambda _: "", float(sys.argv[1]) if len(sys.argv) > 1 else 0.0)

    def answer(request: GenerationRequest) -> str:
        prompt = engine.model_tokenizer.decode(request.prompt, skip_special=False)
        language = "typescript" if ": number" in prompt else "python"
        if "<fim_suffix>" in prompt:
            is_document = '"""' in prompt or "/**" in prompt
            return f"{DOCUMENTATION}\n" if is_document else "third + 1\n"
        if "Write tests for" in prompt:
            return TESTS[language]
        if "has problems" in prompt:
            return FIXED[language]
        if "what could be better?" in prompt:
            return REVIEW
        if "to Go.\n" in prompt:
            return f"{TRANSLATION}\n\treturn a + b\n}}\n```"
        return EDITED if INSTRUCTION in prompt else EXPLANATION

    engine.script = answer
    server = build_server(lambda _: engine)
    if "ask" in sys.argv:
        ask_after_tests(server)
    sys.exit(run_stdio(server))


def ask_after_tests(server: StarcoderServer) -> None:
    """Ask for consent after tests were written, and say the answer for two seconds."""
    perform = server.tasks.perform

    async def perform_and_ask(
        request: TaskRequest, on_partial: OnPartial, on_stage: OnStage
    ) -> TaskResult:
        result = await perform(request, on_partial, on_stage)
        if request.name == "tests":
            is_allowed = await server.consent.may_run(result.files.root, WHAT)
            on_stage(ALLOWED if is_allowed else REFUSED)
            await asyncio.sleep(2)
        return result

    server.tasks.perform = perform_and_ask  # type: ignore[method-assign]


if __name__ == "__main__":
    main()

"""The real language server with an engine that answers each task on the function `add`.

Tests of tasks in editors run it as `python -m tests.editors.tasks_server [SECONDS]`, with the
seconds per token.
"""

import sys

from engine.api import GenerationRequest
from engine.scripted import ScriptedEngine
from lsp_server.registration import build_server
from lsp_server.stdio import run_stdio

DOCUMENTATION = "Add two numbers."
EXPLANATION = "It *adds*."
REVIEW = "Define missing."
TRANSLATION = "func add() int {"
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
    sys.exit(run_stdio(server))


if __name__ == "__main__":
    main()

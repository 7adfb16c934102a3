"""Ghost text of a Code Llama checkpoint: transformers' greedy infilling, over the real protocol."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import tokenizers
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from fim.postprocess.candidate import make_candidate
from fim.postprocess.confidence import UNSCORED
from fim.postprocess.repetition import without_repetition
from fim.postprocess.truncate import Extent, Truncator, scope_of
from fim.snapshot import Snapshot
from tests.e2e.client import ROOT, URI, Editor, start
from tests.llama_checkpoint import (
    END,
    bpe,
    make_llama_checkpoint,
    reference_tokenizer,
    tokenizer_json,
)

DOCUMENT = (
    "# 表情 🎉 说明\r\n"
    "def greet(name):\r\n"
    "\tmessage1 = '🎉 你好, ' + name\r\n"
    "\t\r\n"
    "\treturn message1  # 世界\r\n"
    "\r\n"
    "total10\r\n"
    "print(greet('世界'))\r\n"
)
LANGUAGE = "plaintext"
"""No grammar: random text would not survive the repair of syntax."""
CURSORS = ("\tmessage1", "name\r\n\t", "\treturn message1", "世界\r\n", "total10", "total1")
"""Texts at whose end the cursor stands. No word is half-typed there, so nothing is healed."""
MAX_NEW_TOKENS = 128
"""As in `fim.settings.FimSettings`; half of it for a single line."""


def alone(checkpoint: Path) -> dict[str, object]:
    """Settings for the model alone: the text of the project has no influence."""
    return {"model": str(checkpoint), "projectMemory": False}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "code-llama"
    return make_llama_checkpoint(folder, fim_form="cursor")


@cache
def module_of(checkpoint: Path) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)


def greedy(checkpoint: Path, ids: list[int]) -> list[int]:
    """Return transformers' greedy output after a prompt."""
    output = module_of(checkpoint).generate(
        torch.tensor([ids]),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=[bpe()[0][END], 2],
        pad_token_id=0,
    )[0]
    return [int(id_) for id_ in output[len(ids) :]]


def infilling(checkpoint: Path, prefix: str, suffix: str) -> list[int]:
    """Return transformers' greedy infilling."""
    ids = reference_tokenizer()(f"{prefix}<FILL_ME>{suffix}").input_ids
    return greedy(checkpoint, list(ids))


def left_to_right_output(checkpoint: Path, prefix: str, _: str) -> list[int]:
    """Return transformers' greedy output after the text before the cursor."""
    ids = tokenizers.Tokenizer.from_str(tokenizer_json(infilling=False)).encode(prefix).ids
    return greedy(checkpoint, list(ids))


def text_of(ids: list[int]) -> str:
    """Return the text of ids in the middle of a text, with its first space."""
    reference = reference_tokenizer()
    # The decoder strips a space at the start of a text.
    text = reference.decode([*reference("x").input_ids, *ids], skip_special_tokens=True)
    return str(text).partition("x")[2]


def expected_ghost_text(
    checkpoint: Path, cursor: int, output_of: Callable[[Path, str, str], list[int]]
) -> str | None:
    """Return what to show of transformers' output, by the product's own rules."""
    snapshot = Snapshot(URI, LANGUAGE, DOCUMENT, cursor)
    truncator = Truncator(snapshot, scope_of(snapshot, multiline=True))
    prefix, suffix = (side.replace("\r\n", "\n") for side in (DOCUMENT[:cursor], DOCUMENT[cursor:]))
    is_block = truncator.scope.extent is Extent.BLOCK
    ids = output_of(checkpoint, prefix, suffix)
    max_new_tokens = MAX_NEW_TOKENS if is_block else MAX_NEW_TOKENS // 2
    output, limited = text_of(ids[:max_new_tokens]), len(ids) >= max_new_tokens
    for size in range(len(output)):  # the request ends as soon as nothing more would be shown
        part = output[:size]
        repeats = without_repetition(part, snapshot.line_before) != part
        if repeats or truncator.truncate(part, ended=False).done:
            output, limited = part, False
            break
    truncated = truncator.truncate(output, ended=True, limited=limited)
    return make_candidate(truncated.text, UNSCORED, snapshot).text or None


async def shown_texts(
    editor: Editor, checkpoint: Path, output_of: Callable[[Path, str, str], list[int]]
) -> list[str]:
    """Compare the suggestions at all cursors with transformers' output; return what is shown."""
    shown = []
    editor.open(DOCUMENT, language=LANGUAGE)
    for before in CURSORS:
        cursor = DOCUMENT.index(before) + len(before)
        expected = expected_ghost_text(checkpoint, cursor, output_of)
        # The other suggestions begin with other tokens than the most probable one.
        answer = await asyncio.wrap_future(editor.request_completion(cursor, invoked=True))
        assert answer is not None
        texts = [str(item.insert_text) for item in answer.items]
        if expected is not None:
            assert expected in texts
            shown.append(expected)
    return shown


@pytest.mark.usefixtures("own_engines")
async def test_ghost_text_is_the_greedy_infilling_of_transformers(checkpoint: Path) -> None:
    async with start(settings=alone(checkpoint)) as editor:
        assert (await editor.wait_for_state("ready"))["message"] == ""
        shown = await shown_texts(editor, checkpoint, infilling)
    assert len(shown) >= 5
    assert any(text.startswith(" ") for text in shown)
    assert any("\r\n" in text for text in shown)
    assert any("世" in text for text in shown)


@pytest.mark.usefixtures("own_engines")
async def test_a_half_typed_word_is_completed_after_a_space(checkpoint: Path) -> None:
    text = DOCUMENT.replace("return message1", "retur")
    cursor = text.index("retur") + len("retur")
    async with start(settings=alone(checkpoint)) as editor:
        await editor.wait_for_state("ready")
        editor.open(text, language=LANGUAGE)
        suggestion = await editor.suggestion(cursor, invoked=True)
    assert suggestion is not None
    assert suggestion.startswith("n")  # the only token that begins with "retur" is "return"


@pytest.fixture(scope="module")
def left_to_right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without tokens for infilling, such as Code Llama 34B."""
    folder = tmp_path_factory.mktemp("models") / "code-llama-34b"
    return make_llama_checkpoint(folder, infilling=False)


@pytest.mark.usefixtures("own_engines")
async def test_a_model_without_infilling_completes_left_to_right_and_says_so(
    left_to_right: Path,
) -> None:
    async with start(settings=alone(left_to_right)) as editor:
        status = await editor.wait_for_state("ready")
        assert "no fill-in-the-middle tokens, so it completes left to right" in status["message"]
        assert await shown_texts(editor, left_to_right, left_to_right_output)
        assert editor.statuses[-1]["state"] == "ready"


@pytest.mark.usefixtures("own_engines")
def test_the_command_completes_with_a_model_without_infilling(
    left_to_right: Path, tmp_path: Path
) -> None:
    file = tmp_path / "greet.txt"
    file.write_bytes(DOCUMENT.encode())
    process = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "lsp_server", "complete", f"{file}:3:10"),
            *("--model", str(left_to_right), "--plain"),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert process.stdout.strip()
    assert "completes left to right" in process.stderr


@pytest.mark.usefixtures("own_engines")
def test_doctor_says_that_a_model_completes_left_to_right(left_to_right: Path) -> None:
    command = [sys.executable, "-P", "-m", "lsp_server", "doctor", "--model", str(left_to_right)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "so it completes left to right" in process.stdout

"""A source file in a small project, and the file in which its tests belong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chat.asker import Asker
from chat.tasks.target import Proposal, Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.scripted import ScriptedEngine
from syntax.grammars import count_errors
from tests.chat.tasks.test_write_tests import apply, edits_of

LANGUAGES = {
    ".py": "python",
    ".js": "javascript",
    ".jsx": "javascriptreact",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".ts": "typescript",
    ".tsx": "typescriptreact",
    ".mts": "typescript",
    ".cts": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
}


@dataclass(frozen=True)
class Placement:
    """A project and where the tests of one function in it belong."""

    source: str
    """The path of the source file. The cursor is at the first `total` or `Total`."""
    test_file: str
    files: dict[str, str | bytes]
    """The content of the files, by path."""
    parts: tuple[str, ...] = ()
    """Texts that the test file contains afterwards."""
    absent: tuple[str, ...] = ()
    """Texts that it does not contain."""
    answer: str = ""
    """The model's answer, if it is not the usual one of the language."""
    cursor: str = ""
    """A text at which the cursor is, if it is not at `total` or `Total`."""


def write(files: dict[str, str | bytes], root: Path) -> None:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


def target_of(placement: Placement, root: Path) -> Target:
    write(placement.files, root)
    source = root / placement.source
    text = source.read_bytes().decode("utf-8", "replace")
    cursor = text.index(placement.cursor) if placement.cursor else text.lower().index("total")
    return Target(source.as_uri(), source, LANGUAGES[source.suffix], text, cursor, cursor)


async def propose_in(
    placement: Placement, root: Path, answer: str
) -> tuple[Proposal, ScriptedEngine]:
    target = target_of(placement, root)
    engine = ScriptedEngine(lambda _: placement.answer or answer)
    files = WorkspaceFiles(root, boundary=root)
    return await write_tests(target, Asker(engine), files), engine


async def place(placement: Placement, root: Path, answer: str) -> str:
    """Write the tests, check the file, its syntax and its texts, and return its text."""
    proposal, _ = await propose_in(placement, root, answer)
    files = {edit.path.relative_to(root).as_posix() for edit in edits_of(proposal)}
    assert files == {placement.test_file}
    apply(proposal)
    text = (root / placement.test_file).read_bytes().decode()
    language = LANGUAGES[Path(placement.test_file).suffix]
    language = "typescriptreact" if language == "typescript" else language
    assert count_errors(text.replace("\r\n", "\n").replace("\r", "\n"), language) == 0, text
    for part in placement.parts:
        assert part in text, text
    for part in placement.absent:
        assert part not in text, text
    return text

"""Names and texts use plain technical English: the archaic words listed here do not occur.

A quotation may contain them: add it to `QUOTATIONS`.
"""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUFFIXES = {".py", ".md", ".ts", ".lua", ".h", ".cpp", ".css", ".toml", ".txt", ".yml", ".json"}
SUFFIXES |= {".mjs", ".sh", ".txtar"}
WITHOUT_SUFFIX = ("Makefile", ".ci/run", ".ci/install-editor", ".ci/install-vscode")
EXCLUDED = (
    "tests/test_language.py",  # lists the words
    "LICENSE",
    "editors/vscode/LICENSE",
    "engine/embedded/tokenizer.json",
    "engine/embedded/evaluation.json",
)
WORDS = (
    "anew",
    "beside",
    "amiss",
    "mend",
    "mends",
    "mended",
    "mending",
    "told",
    "tell",
    "tells",
    "telling",
    "for want of",
    "let go",
    "lets go",
    "letting go",
    "take note of",
    "takes note of",
    "so many",
    "so much",
    "behind",
    "at once",
    "as far as",
)
# An underscore separates the words of a name, so `_told` counts as well.
PATTERN = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(WORDS)})(?![A-Za-z])", re.IGNORECASE)
QUOTATIONS = ('"So many tokens, so little time"', "ViewColumn.Beside")
NAMES = {"found", "one", "made", "known", "held", "told", "at", "begun", "given", "wanted"}
"""Participles and pronouns that say nothing about a value."""


def tracked_files() -> list[Path]:
    output = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [
        ROOT / name
        for name in output.split("\0")
        if (Path(name).suffix in SUFFIXES or name in WITHOUT_SUFFIX)
        and name not in EXCLUDED
        and (ROOT / name).exists()
    ]


def archaic_words(text: str) -> list[str]:
    for quotation in QUOTATIONS:
        text = text.replace(quotation, "")
    return PATTERN.findall(text)


def empty_names(source: str) -> list[str]:
    """Names of variables and arguments in a Python source that say nothing about their value."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.append(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
    return [name for name in names if name.lstrip("_") in NAMES]


@pytest.mark.parametrize("file", tracked_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_contains_no_archaic_words_and_no_empty_names(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert archaic_words(text) == []
    if file.suffix == ".py":
        assert empty_names(text) == []


@pytest.mark.parametrize(
    "text",
    ["Compute it anew.", "self._told = 1", "def tell_once():", "What lies BEHIND it.", "At once!"],
)
def test_archaic_words_are_recognized(text: str) -> None:
    assert archaic_words(text)


@pytest.mark.parametrize("text", ["besides", "amended", "untold", "atonement", "meant one"])
def test_other_words_are_not(text: str) -> None:
    assert not archaic_words(text)


def test_empty_names_are_recognized() -> None:
    names = empty_names("def f(one):\n    found = [at for at in one]")
    assert sorted(names) == ["at", "found", "one"]
    assert empty_names("def f(item):\n    matches = [index for index in item]") == []

"""The text in a client: what it becomes when the client applies a suggestion as LSP says."""

import asyncio
import re

from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.settings import FimSettings
from fim.snapshot import SelectedText, Snapshot, Suggestion, Trigger
from lsp_server.session.documents import Document

ENCODINGS = ["utf-8", "utf-16", "utf-32"]

# All characters except lone surrogates, which no client can send.
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# Characters and strings that are difficult for code, line endings or encodings.
code = st.lists(
    st.sampled_from(
        [
            "a",
            "_x1",
            " ",
            "    ",
            "\t",
            "\n",
            "\r\n",
            "\r",
            "\x0c",
            "\v",
            "\u2028",
            "\x85",
            "\x00",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            '"',
            "'",
            "`",
            ":",
            ",",
            "=",
            "# ",
            "//",
            "return ",
            "if ",
            "é",
            "漢",
            "🎉",
            "👩\u200d💻",
            "e\u0301",
            "\ufeff",
            "<fim_middle>",
            "<KEY>",
            "def f():",
        ]
    ),
    max_size=16,
).map("".join)
texts = code | any_text


def splits_line_ending(before: str, after: str) -> bool:
    """Whether a cursor between the two texts is within a line ending, where LSP has no position."""
    return before.endswith("\r") and after.startswith("\n")


def open_document(text: str, encoding: str) -> Document:
    codec = PositionCodec(encoding=types.PositionEncodingKind(encoding))
    return Document("file:///a.py", text, 1, "python", position_codec=codec)


def offset_of(text: str, position: types.Position, encoding: str) -> int:
    """Return the offset of a position as a client computes it, without the product's code."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    start = starts[position.line]
    name = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    size = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    # Decoding fails if the position is within a character: no client could apply it.
    head = text[start:].encode(name)[: position.character * size].decode(name)
    assert not re.search(r"[\r\n]", head)
    return start + len(head)


def apply_edit(text: str, range_: types.Range, inserted: str, encoding: str) -> str:
    start = offset_of(text, range_.start, encoding)
    end = offset_of(text, range_.end, encoding)
    return text[:start] + inserted + text[end:]


def suggest(
    before: str, after: str, output: str, selected: SelectedText | None = None
) -> tuple[Snapshot, tuple[Suggestion, ...]]:
    """Return what the completer suggests for a model's output."""
    snapshot = Snapshot("file:///a.py", "python", before + after, len(before))
    engine = ScriptedEngine(lambda _: output)
    completer = Completer(engine, FimSettings(eagerness="eager"))
    result = asyncio.run(completer.complete(snapshot, Trigger.INVOKED, selected))
    return snapshot, result.suggestions


def contains_in_order(text: str, replaced: str) -> bool:
    """Whether all characters of `replaced` are in a text, in the same order."""
    characters = iter(text)
    return all(character in characters for character in replaced)

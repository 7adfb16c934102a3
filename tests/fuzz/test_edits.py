"""Random edits: the text of the server equals that of the client, whatever the client sends."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.client import scripted
from tests.fuzz.conftest import FUZZING
from tests.raw_client import RawProcess, raw_process

URI = "file:///edited.py"
PIECES = [
    "a",
    "é",
    "漢",
    "🎉",
    "\ud83d",
    "\ude00",
    "\r\n",
    "\r",
    "\n",
    "\x0c",
    "\u2028",
    "\0",
    "\t",
]
texts = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)
numbers = st.one_of(st.integers(0, 8), st.sampled_from([100, 2**31 - 1]))
positions = st.tuples(numbers, numbers)
edits = st.lists(
    st.tuples(st.one_of(st.none(), st.tuples(positions, positions)), texts), min_size=1, max_size=4
)


class Utf16Text:
    """A text as an editor written in JavaScript has it: a sequence of UTF-16 code units."""

    def __init__(self, text: str) -> None:
        self.units = _to_units(text)

    def edit(self, start: tuple[int, int], end: tuple[int, int], inserted: str) -> None:
        first = self._offset(*start)
        last = max(first, self._offset(*end))
        self.units[first:last] = _to_units(inserted)

    def _offset(self, line: int, character: int) -> int:
        """Return an offset; see LSP 3.18, "Position", for positions beyond a line or the text."""
        text = "".join(map(chr, self.units))
        spans = [(0, len(text))]
        for match in re.finditer(r"\r\n|\r|\n", text):
            spans[-1] = (spans[-1][0], match.start())
            spans.append((match.end(), len(text)))
        if line >= len(spans):
            return len(text)
        return min(spans[line][0] + character, spans[line][1])

    @property
    def text(self) -> str:
        """The text with U+FFFD for halves of characters."""
        data = b"".join(unit.to_bytes(2, "little") for unit in self.units)
        joined = data.decode("utf-16-le", "surrogatepass")
        return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def _to_units(text: str) -> list[int]:
    data = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(data[index : index + 2], "little") for index in range(0, len(data), 2)]


@pytest.fixture(scope="module")
def client() -> Iterator[RawProcess]:
    with raw_process(scripted("1")) as process:
        process.initialize({"debounceMs": 0})
        yield process


def open_document(client: RawProcess, text: str) -> None:
    document = {"uri": URI, "languageId": "python", "version": 0, "text": text}
    client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    client.notify("textDocument/didOpen", {"textDocument": document})


@FUZZING
@given(text=texts, batches=st.lists(edits, min_size=1, max_size=4))
def test_the_server_has_the_text_of_the_client(
    client: RawProcess,
    text: str,
    batches: list[list[tuple[tuple[tuple[int, int], tuple[int, int]] | None, str]]],
) -> None:
    client.messages.clear()
    open_document(client, text)
    model = Utf16Text(text)
    for version, batch in enumerate(batches, start=1):
        changes: list[dict[str, Any]] = []
        for span, inserted in batch:
            if span is None:
                model = Utf16Text(inserted)
                changes.append({"text": inserted})
                continue
            model.edit(*span, inserted)
            start, end = ({"line": line, "character": unit} for line, unit in span)
            changes.append({"range": {"start": start, "end": end}, "text": inserted})
        identifier = {"uri": URI, "version": version}
        client.notify(
            "textDocument/didChange", {"textDocument": identifier, "contentChanges": changes}
        )
        (info,) = client.request("starcoder/debugInfo")["result"]["documents"]
        expected = model.text
        assert info["length"] == len(expected)
        assert info["sha256"] == hashlib.sha256(expected.encode()).hexdigest()


@FUZZING
@given(text=texts, position=positions)
def test_a_completion_works_in_any_text(
    client: RawProcess, text: str, position: tuple[int, int]
) -> None:
    client.messages.clear()
    open_document(client, text)
    params = {
        "textDocument": {"uri": URI},
        "position": {"line": position[0], "character": position[1]},
        "context": {"triggerKind": 1},
    }
    assert "result" in client.request("textDocument/inlineCompletion", params)
    shown = [each for each in client.messages if each.get("method") == "window/showMessage"]
    assert shown == []

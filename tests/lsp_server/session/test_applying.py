"""A suggestion goes over the wire and into the client's text: nothing around it is lost.

For any text, cursor and model output the client's file, with the item applied as LSP says, is what
stood left of the cursor, the suggestion, and what stood right of it, where the suggestion brings
again, in order, all that it takes the place of.
"""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.settings import FimSettings
from fim.snapshot import SelectedText, Snapshot, Suggestion, Trigger
from lsp_server.handlers import completion, inline_completion
from lsp_server.session.documents import Document

ENCODINGS = ["utf-8", "utf-16", "utf-32"]

# Any character there is but lone surrogates, which no client can send; and often those that code,
# line ends and encodings make trouble with.
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
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
texts = code | anything


def split_line_end(before: str, after: str) -> bool:
    return before.endswith("\r") and after.startswith("\n")


def document(text: str, encoding: str) -> Document:
    codec = PositionCodec(encoding=types.PositionEncodingKind(encoding))
    return Document("file:///a.py", text, 1, "python", position_codec=codec)


def offset_of(text: str, position: types.Position, encoding: str) -> int:
    """The offset of a position, worked out apart from the product's code, as a client does."""
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    start = starts[position.line]
    name = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    size = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    # Decoding fails where a position is within a character: no client could apply it.
    head = text[start:].encode(name)[: position.character * size].decode(name)
    assert not re.search(r"[\r\n]", head)
    return start + len(head)


def applied(text: str, edit: types.Range, inserted: str, encoding: str) -> str:
    start, end = (offset_of(text, one, encoding) for one in (edit.start, edit.end))
    return text[:start] + inserted + text[end:]


def suggestions(
    before: str, after: str, answer: str, selected: SelectedText | None = None
) -> tuple[Snapshot, tuple[Suggestion, ...]]:
    """What the completer makes of a model's output."""
    snapshot = Snapshot("file:///a.py", "python", before + after, len(before))
    engine = ScriptedEngine(lambda _: answer)
    completer = Completer(engine, FimSettings(eagerness="eager"))
    result = asyncio.run(completer.complete(snapshot, Trigger.INVOKED, selected))
    return snapshot, result.suggestions


def brings_again(text: str, replaced: str) -> bool:
    """Whether all of `replaced` is in a text, in order."""
    written = iter(text)
    return all(character in written for character in replaced)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=300)
@given(before=texts, after=texts, answer=texts)
def test_prefix_suggestion_suffix(encoding: str, before: str, after: str, answer: str) -> None:
    if split_line_end(before, after):
        return  # no position is there
    snapshot, found = suggestions(before, after, answer)
    held = document(snapshot.text, encoding)
    for one in found:
        item = inline_completion._item(one, held.index, held.encoding)
        assert isinstance(item.insert_text, str)
        assert item.range is not None
        result = applied(snapshot.text, item.range, item.insert_text, encoding)
        replaced = snapshot.text[one.replace_start : one.replace_end]
        assert one.replace_start == len(before)
        assert after.startswith(replaced)
        assert result == before + one.text + after[len(replaced) :]
        assert brings_again(one.text, replaced)
        # The server's own document, told of the acceptance as of any edit, is the client's.
        change = types.TextDocumentContentChangePartial(range=item.range, text=item.insert_text)
        held.apply_change(change)
        assert held.source == result
        held = document(snapshot.text, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(before=texts, after=texts, answer=texts)
def test_as_an_item_of_the_completion_list(
    encoding: str, before: str, after: str, answer: str
) -> None:
    if split_line_end(before, after):
        return
    snapshot, found = suggestions(before, after, answer)
    held = document(snapshot.text, encoding)
    for one in found:
        edit = completion._item(one, snapshot, held).text_edit
        assert isinstance(edit, types.TextEdit)
        result = applied(snapshot.text, edit.range, edit.new_text, encoding)
        rest = after[one.replace_end - len(before) :]
        assert result == before + one.text + rest


@given(before=code, word=st.from_regex(r"[a-zé_]{0,6}", fullmatch=True), after=code, answer=code)
def test_beyond_the_suggest_widgets_choice(before: str, word: str, after: str, answer: str) -> None:
    """What the widget would put is put, and what stood around it stays."""
    typed = len(before)
    text = before + word
    if split_line_end(text, after):
        return
    chosen = SelectedText(typed, len(text), word + "Chosen")
    snapshot, found = suggestions(text, after, answer, chosen)
    for one in found:
        result = one.applied_to(snapshot.text)
        assert one.text.startswith(chosen.text)
        replaced = snapshot.text[len(text) : one.replace_end]
        assert result == before + one.text + after[len(replaced) :]
        assert brings_again(one.text.removeprefix(chosen.text), replaced)


def test_an_empty_file() -> None:
    snapshot, (one,) = suggestions("", "", "import os\n")
    for encoding in ENCODINGS:
        held = document(snapshot.text, encoding)
        item = inline_completion._item(one, held.index, held.encoding)
        assert item.range is not None
        assert applied("", item.range, str(item.insert_text), encoding) == "import os"

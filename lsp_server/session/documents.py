"""Documents as LSP defines them: three kinds of line endings, three position encodings.

pygls splits lines as Python does, where a form feed, a vertical tab or U+2028 ends a line. For an
editor they do not end a line, so pygls would apply an edit after one of them at a wrong position.
"""

from __future__ import annotations

from itertools import pairwise

from lsprotocol import types

from lsp_server.session.line_index import Encoding, LineIndex
from lsp_server.session.pygls_workspace import EditableDocument
from lsp_server.session.surrogates import halves


class Document(EditableDocument):
    """A text document whose lines end where they end in an editor.

    The text that edits change is exactly the client's. `source`, the text that all else reads, has
    U+FFFD in place of lone surrogates, which no tokenizer and no file can contain. Both have the
    same positions.
    """

    _exact = LineIndex("")
    """The client's text."""

    @property
    def exact_text(self) -> str:
        """The client's text, possibly with lone surrogates."""
        return self._exact.text

    @exact_text.setter
    def exact_text(self, text: str) -> None:
        self._exact = LineIndex(text)

    @property
    def source(self) -> str:
        """The text, without lone surrogates."""
        return self.index.text

    @property
    def index(self) -> LineIndex:
        """The line index of the current text; it does not change when the document is edited."""
        return self._exact.well_formed

    @property
    def encoding(self) -> Encoding:
        """The client's position encoding."""
        return self.position_codec.encoding or types.PositionEncodingKind.Utf16

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines with their line endings, as pygls expects them."""
        starts = [*self.index.starts, len(self.source)]
        lines = (self.source[start:end] for start, end in pairwise(starts))
        return tuple(line for line in lines if line)

    def offset_at_position(self, client_position: types.Position) -> int:
        """Return the offset of a position in code points."""
        return self.index.offset(client_position, self.encoding)

    def edit(self, change: types.TextDocumentContentChangePartial) -> None:
        """Change the text as the client did."""
        index = self._exact
        start, first_half = index.split(change.range.start, self.encoding)
        end, second_half = index.split(change.range.end, self.encoding)
        if (end, second_half) < (start, first_half):
            end, second_half = start, first_half
        text = change.text
        if first_half:
            text = halves(index.character(start))[0] + text
        if second_half:
            text += halves(index.character(end))[1]
            end += 1
        self._exact = index.after_edit(*index.with_neighbours(start, end, text))

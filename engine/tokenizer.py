"""The tokenizer: text to ids and back, without torch.

Text of a user is always encoded with special tokens off, so a source file that contains
`<fim_suffix>` or `<|end|>` stays text. Special tokens are looked up by name and placed as ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import tokenizers

from engine.decoding.vocabulary import Vocabulary
from engine.errors import ModelNotFoundError, UnsupportedModelError

END_OF_TEXT = "<|endoftext|>"
_MOST_NEIGHBOURS = 300
"""Ids that are looked at for one that may follow another: about a millisecond."""
_REMEMBERED = 20_000
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer:
    """A `tokenizer.json` with what decoding needs."""

    def __init__(self, inner: tokenizers.Tokenizer, source: str) -> None:
        inner.encode_special_tokens = True  # their strings in text stay text
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self.source = source
        self._whole_texts: dict[int, str] = {}
        self._goes_on: dict[tuple[int, bytes], bool] = {}
        self._special = {
            token.content: id_
            for id_, token in inner.get_added_tokens_decoder().items()
            if token.special
        }

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """Load a `tokenizer.json`, or the one in a directory.

        Raises ModelNotFoundError when there is none, UnsupportedModelError when it cannot be read.
        """
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            return cls.from_json(file.read_text(encoding="utf-8"), str(file))
        except FileNotFoundError:
            raise ModelNotFoundError(f"There is no tokenizer at {file}.") from None

    @classmethod
    def from_json(cls, text: str, source: str = "tokenizer.json") -> Tokenizer:
        """Build from the text of a `tokenizer.json`; `source` names it in messages."""
        try:
            return cls(tokenizers.Tokenizer.from_str(text), source)
        except Exception as error:  # the library raises plain Exception
            raise UnsupportedModelError(f"{source} is not a readable tokenizer: {error}") from error

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of its tokens. Made when first asked for: some 0.1 s for 49,152 ids."""
        return Vocabulary(self._ordinary())

    def may_go_on(self, id_: int, rest: bytes) -> bool:
        """Whether a text that goes on with `rest` after an id may ever be cut into ids there.

        Between two letters it is only where the merges say so. Byte-level BPE cuts a text into ids
        of which each two neighbours are how it cuts those two alone (van Antwerpen and Neubeck
        2024, "So many tokens, so little time", on the bpe crate), so some id that agrees with
        `rest` must be such a neighbour. Where that would take long to find out, it may.
        """
        key = id_, rest
        known = self._goes_on.get(key)
        if known is None:
            if len(self._goes_on) >= _REMEMBERED:
                self._goes_on.clear()
            known = self._goes_on[key] = self._finds_neighbour(id_, rest)
        return known

    def _finds_neighbour(self, id_: int, rest: bytes) -> bool:
        bytes_of = self.vocabulary.bytes_of
        before = bytes_of(id_)
        if not (before[-1:].isalpha() and rest[:1].isalpha()):
            return True  # what is a word of its own depends on more than these two
        agreeing = self.vocabulary.agreeing(rest)
        if len(agreeing) > _MOST_NEIGHBOURS:
            return True
        try:
            pairs = [(before + bytes_of(one)).decode() for one in agreeing]
        except UnicodeDecodeError:
            return True
        return any(
            self.encode(text) == [id_, one] for text, one in zip(pairs, agreeing, strict=True)
        )

    def writes_like(self, other: Tokenizer) -> bool:
        """Whether ordinary tokens, those that text is made of, are the same with the same ids."""
        return self._ordinary() == other._ordinary()

    def _ordinary(self) -> dict[str, int]:
        found: dict[str, int] = self._inner.get_vocab(with_added_tokens=False)
        return {name: id_ for name, id_ in found.items() if name not in self._special}

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the special tokens by name."""
        return dict(self._special)

    def special_id(self, name: str) -> int | None:
        """Return the id of a special token, None where the model has none of that name."""
        return self._special.get(name)

    @property
    def end_of_text_id(self) -> int | None:
        """Id of `<|endoftext|>`. It is 0 in StarCoder: compare with None, not for truth."""
        return self.special_id(END_OF_TEXT)

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text: no special token comes out, whatever it contains."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_with_special(self, text: str) -> list[int]:
        """Return ids, reading the names of special tokens in the text as those tokens.

        For prompts that a program wrote, never for text of a user.
        """
        parser = tokenizers.Tokenizer.from_str(self.to_json())
        parser.encode_special_tokens = False
        return list(parser.encode(text, add_special_tokens=False).ids)

    def to_json(self) -> str:
        """Return the text of a `tokenizer.json` that makes the same tokenizer."""
        return str(self._inner.to_str())

    def token_id(self, name: str) -> int | None:
        """Return the id of a token, special or not, None where there is none of that name."""
        return self._special.get(name, self._inner.token_to_id(name))

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of ids; bytes that are no UTF-8 become U+FFFD."""
        return str(self._inner.decode(list(ids), skip_special_tokens=skip_special))

    def whole_text(self, id_: int) -> str:
        """Return the text of an id that needs no other to be read, empty for others."""
        known = self._whole_texts.get(id_)
        if known is None:
            text = self.decode((id_,))
            known = self._whole_texts[id_] = "" if _REPLACEMENT in text else text
        return known

    def check_digits(self) -> None:
        """Raise UnsupportedModelError if digits are not split one by one.

        A GPTBigCode checkpoint whose tokenizer was saved by the wrong class loses that step and
        then answers badly without any error.
        """
        if len(self.encode("2025")) != len("2025"):
            raise UnsupportedModelError(
                f"{self.source} does not split digits one by one, as every StarCoder tokenizer "
                "does. It was probably saved by another tokenizer class; take the original file."
            )

    def stream(self) -> StreamDecoder:
        """Return a decoder for one answer."""
        return StreamDecoder(self)


class StreamDecoder:
    """Turns ids into text piece by piece, holding back incomplete UTF-8."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pending: list[int] = []

    def feed_one(self, id_: int) -> str:
        """Add an id; return as `feed` does."""
        if not self._pending and (whole := self._tokenizer.whole_text(id_)):
            return whole
        return self.feed((id_,))

    def feed(self, ids: Iterable[int]) -> str:
        """Add ids; return the text that is complete now, possibly empty.

        Byte-level BPE decodes id by id, so only the ids of an unfinished character are kept. Four
        bytes finish any character: what is still undecodable after that never will be, and is
        given out as U+FFFD.
        """
        self._pending.extend(ids)
        text = self._tokenizer.decode(self._pending)
        if text.endswith(_REPLACEMENT) and len(self._pending) <= 4:
            return ""
        self._pending.clear()
        return text

    def flush(self) -> str:
        """Return what is held back; call it at the end of the answer."""
        text = self._tokenizer.decode(self._pending) if self._pending else ""
        self._pending.clear()
        return text

"""The tokenizer: text to token ids and back, without torch.

Text of a user is always encoded with special tokens off, so a source file that contains
`<fim_suffix>` or `<|end|>` stays text. Special tokens are looked up by name and inserted as ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers

from engine.errors import ModelNotFoundError, UnsupportedModelError

END_OF_TEXT = "<|endoftext|>"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer:
    """A `tokenizer.json` with the operations that prompts and decoding need."""

    def __init__(self, inner: tokenizers.Tokenizer, source: str) -> None:
        inner.encode_special_tokens = True  # names of special tokens in a text stay text
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self.source = source
        self._whole_texts: dict[int, str] = {}
        self._special = {
            token.content: id_
            for id_, token in inner.get_added_tokens_decoder().items()
            if token.special
        }

    @classmethod
    def from_file(cls, path: Path) -> Tokenizer:
        """Load a `tokenizer.json` file, or the one in a directory.

        Raises ModelNotFoundError if the file does not exist, UnsupportedModelError if it is
        damaged.
        """
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            return cls.from_json(file.read_text(encoding="utf-8"), str(file))
        except FileNotFoundError:
            raise ModelNotFoundError(
                f"There is no tokenizer at {file}. Add the tokenizer.json of the model."
            ) from None

    @classmethod
    def from_json(cls, text: str, source: str = "tokenizer.json") -> Tokenizer:
        """Parse the text of a `tokenizer.json`; `source` is its name in messages."""
        try:
            return cls(tokenizers.Tokenizer.from_str(text), source)
        except Exception as error:  # the library raises plain Exception
            raise UnsupportedModelError(f"{source} is not a readable tokenizer: {error}") from error

    @property
    def vocab_size(self) -> int:
        """Number of token ids, including special tokens."""
        return self._inner.get_vocab_size(with_added_tokens=True)

    def ordinary_tokens(self) -> dict[str, int]:
        """Return the ids of the tokens of which text consists, by name."""
        tokens: dict[str, int] = self._inner.get_vocab(with_added_tokens=False)
        return {name: id_ for name, id_ in tokens.items() if name not in self._special}

    def has_same_tokens(self, other: Tokenizer) -> bool:
        """Return whether both tokenizers have the same ordinary tokens with the same ids."""
        return self.ordinary_tokens() == other.ordinary_tokens()

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the special tokens, by name."""
        return dict(self._special)

    def special_id(self, name: str) -> int | None:
        """Return the id of a special token, None if the model has no such token."""
        return self._special.get(name)

    @property
    def end_of_text_id(self) -> int | None:
        """Id of `<|endoftext|>`, or None. It is 0 in StarCoder, so compare it with None."""
        return self.special_id(END_OF_TEXT)

    def encode(self, text: str) -> list[int]:
        """Return the ids of plain text. They never contain a special token."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def encode_with_special(self, text: str) -> list[int]:
        """Return the ids of a text in which names of special tokens stand for these tokens.

        Use this only for prompts that a program wrote, never for text of a user.
        """
        parser = tokenizers.Tokenizer.from_str(self.to_json())
        parser.encode_special_tokens = False
        return list(parser.encode(text, add_special_tokens=False).ids)

    def to_json(self) -> str:
        """Return the text of a `tokenizer.json` with the same content."""
        return str(self._inner.to_str())

    def token_id(self, name: str) -> int | None:
        """Return the id of any token, special or not, None if there is no such token."""
        return self._special.get(name, self._inner.token_to_id(name))

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of ids. Invalid UTF-8 becomes U+FFFD."""
        return str(self._inner.decode(list(ids), skip_special_tokens=skip_special))

    def whole_text(self, id_: int) -> str:
        """Return the text of a token that is valid UTF-8 by itself, empty for other tokens."""
        cached = self._whole_texts.get(id_)
        if cached is None:
            text = self.decode((id_,))
            cached = self._whole_texts[id_] = "" if _REPLACEMENT in text else text
        return cached

    def check_digits(self) -> None:
        """Raise UnsupportedModelError if digits are not split one by one.

        A GPTBigCode tokenizer that was saved by the wrong class loses this step. The model then
        generates bad text without any error.
        """
        if len(self.encode("2025")) != len("2025"):
            raise UnsupportedModelError(
                f"{self.source} does not split digits one by one, as every StarCoder tokenizer "
                "does. It was probably saved by another tokenizer class. Use the original file."
            )

    def stream(self) -> StreamDecoder:
        """Return a decoder for the text of one output."""
        return StreamDecoder(self)


class StreamDecoder:
    """Decodes ids to text piece by piece and holds back incomplete UTF-8."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pending: list[int] = []

    def feed_one(self, id_: int) -> str:
        """Add one id; see `feed`."""
        if not self._pending and (whole := self._tokenizer.whole_text(id_)):
            return whole
        return self.feed((id_,))

    def feed(self, ids: Iterable[int]) -> str:
        """Add ids and return the text that is complete now, possibly empty.

        Byte-level BPE decodes id by id, so only the ids of an unfinished character are kept. Every
        character has at most four bytes. Bytes that are still invalid after that become U+FFFD.
        """
        self._pending.extend(ids)
        text = self._tokenizer.decode(self._pending)
        if text.endswith(_REPLACEMENT) and len(self._pending) <= 4:
            return ""
        self._pending.clear()
        return text

    def flush(self) -> str:
        """Return the text that is held back, at the end of the output."""
        text = self._tokenizer.decode(self._pending) if self._pending else ""
        self._pending.clear()
        return text

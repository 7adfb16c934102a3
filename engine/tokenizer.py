"""The tokenizer: text to token ids and back, without torch.

Text of a user is always encoded with special tokens off, so a source file that contains
`<fim_suffix>` or `<|end|>` stays text. Special tokens are looked up by name and inserted as ids.

A prompt consists of pieces of text, and so does a stream of output. `Tokenizer.encode` and
`Tokenizer.decode` treat each piece as it is: they never add or remove a space. A SentencePiece
tokenizer puts a dummy space before a text when a model is trained (see `engine.token_bytes`).
`Tokenizer.encode_start` does the same, for the start of a document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import tokenizers

from engine.errors import ModelNotFoundError, UnsupportedModelError, reason_of
from engine.stream_decoder import (
    REPLACEMENT,
    ByteLevelStreamDecoder,
    ByteStreamDecoder,
    StreamDecoder,
)
from engine.token_bytes import (
    SPACE_MARK,
    byte_level_bytes,
    byte_names,
    has_space_marks,
    is_byte_name,
    space_mark_bytes,
    without_dummy_space,
)

END_OF_TEXT = "<|endoftext|>"

_NUM_CACHED_WORDS = 500
"""Number of words whose ids each thread remembers, about as many as a file has different words."""
_LONG_TEXT = 20_000
"""Number of characters from which a text is encoded without the interpreter lock. For a shorter
text, which takes up to 10 ms, giving up the lock is not worth its cost."""

_CONTROL_NAME = re.compile(
    r"<\|.*\|>|<｜.*｜>|<\[.*\]>|▁<[A-Z]+>|\[(PREFIX|SUFFIX|MIDDLE)\]"
    r"|<fim[-_].*>|<(file_sep|filename|repo_name|reponame)>"
)
"""Names of tokens that are special, even if the tokenizer.json does not say so.

Qwen2.5-Coder's file, for example, lists `<|fim_prefix|>` as a token of ordinary text.
"""


class Tokenizer:
    """A `tokenizer.json` with the operations that prompts and decoding need."""

    def __init__(self, inner: tokenizers.Tokenizer, source: str) -> None:
        added = inner.get_added_tokens_decoder()
        inner.add_special_tokens(
            [
                token.content
                for token in added.values()
                if not token.special and _CONTROL_NAME.fullmatch(token.content)
            ]
        )
        self._whole = _prepared(inner)
        self._has_space_marks = has_space_marks(inner)
        self._pieces = _prepared(without_dummy_space(inner)) if self._has_space_marks else inner
        """The same tokenizer, but it never adds a dummy space."""
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
        except (OSError, UnicodeError) as error:
            raise UnsupportedModelError(
                f"{file} is not a readable tokenizer: {reason_of(error)}."
            ) from error

    @classmethod
    def from_json(cls, text: str, source: str = "tokenizer.json") -> Tokenizer:
        """Parse the text of a `tokenizer.json`; `source` is its name in messages."""
        try:
            return cls(tokenizers.Tokenizer.from_str(text), source)
        except Exception as error:  # the library raises plain Exception
            raise UnsupportedModelError(
                f"{source} is not a readable tokenizer: {reason_of(error)}."
            ) from error

    @property
    def vocab_size(self) -> int:
        """Number of token ids, including special tokens."""
        return self._whole.get_vocab_size(with_added_tokens=True)

    @cached_property
    def longest_token(self) -> int:
        """Number of characters of the longest token; no token stands for more."""
        return max(map(len, self._whole.get_vocab(with_added_tokens=True)))

    def ordinary_tokens(self) -> dict[str, int]:
        """Return the ids of the tokens of which text consists, by name."""
        tokens: dict[str, int] = self._whole.get_vocab(with_added_tokens=True)
        return {name: id_ for name, id_ in tokens.items() if name not in self._special}

    @cached_property
    def bytes_by_id(self) -> dict[int, bytes]:
        """The bytes of each ordinary token.

        Several tokens may have the same bytes. The last of these is the one that `encode` uses.
        """
        tokens = sorted(self.ordinary_tokens().items(), key=lambda item: item[1])
        if not self._has_space_marks:
            return {id_: byte_level_bytes(name) for name, id_ in tokens}
        tokens.sort(key=lambda item: not is_byte_name(item[0]))
        return {id_: space_mark_bytes(name) for name, id_ in tokens}

    @cached_property
    def id_by_bytes(self) -> dict[bytes, int]:
        """The id of the ordinary token with given bytes, the one that `encode` uses."""
        return {bytes_: id_ for id_, bytes_ in self.bytes_by_id.items()}

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

    @cached_property
    def start_ids(self) -> tuple[int, ...]:
        """Ids that the tokenizer puts before the text of a document, such as `<s>`."""
        encoding = self._whole.encode("x", add_special_tokens=True)
        marked = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return tuple(id_ for id_, _ in takewhile(lambda pair: pair[1], marked))

    def encode(self, text: str) -> list[int]:
        """Return the ids of a piece of text. They never contain a special token.

        The ids decode to the same text: no space is added, also not by a SentencePiece tokenizer.
        """
        if not self._has_space_marks or SPACE_MARK not in text:
            return self._encode(text)
        # The bytes of this character are not taken for a space.
        first, *others = map(self._encode, text.split(SPACE_MARK))
        return [*first, *(id_ for ids in others for id_ in (*self._space_mark_ids, *ids))]

    def encode_start(self, text: str) -> list[int]:
        """Return the ids of text at the start of a document, as the model was trained with it.

        They begin with a dummy space if the tokenizer adds one, and contain no special token.
        """
        return self.encode(f" {text}") if text and self._adds_space else self.encode(text)

    @cached_property
    def _adds_space(self) -> bool:
        return list(self._whole.encode("x", add_special_tokens=False).ids) != self._encode("x")

    def _encode(self, text: str) -> list[int]:
        return _encode(self._pieces, text)

    @cached_property
    def _space_mark_ids(self) -> list[int]:
        ids = [self._whole.token_to_id(name) for name in byte_names(SPACE_MARK)]
        return [id_ for id_ in ids if id_ is not None]

    def encode_with_special(self, text: str) -> list[int]:
        """Return the ids of a text in which names of special tokens stand for these tokens.

        Use this only for prompts that a program wrote, never for text of a user.
        """
        return _encode(self._parser, text)

    @cached_property
    def _parser(self) -> tokenizers.Tokenizer:
        """The same tokenizer, but it takes names of special tokens for these tokens."""
        parser = tokenizers.Tokenizer.from_str(self.to_json())
        parser.encode_special_tokens = False
        return parser

    def to_json(self) -> str:
        """Return the text of a `tokenizer.json` with the same content."""
        return str(self._whole.to_str())

    def token_id(self, name: str) -> int | None:
        """Return the id of any token, special or not, None if there is no such token."""
        return self._special.get(name, self._whole.token_to_id(name))

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of ids. Invalid UTF-8 becomes U+FFFD."""
        if not self._has_space_marks:
            return str(self._whole.decode(list(ids), skip_special_tokens=skip_special))
        return b"".join(self._bytes(id_, skip_special) for id_ in ids).decode(errors="replace")

    def _bytes(self, id_: int, skip_special: bool) -> bytes:
        if id_ in self.bytes_by_id:
            return self.bytes_by_id[id_]
        name = None if skip_special else self._whole.id_to_token(id_)
        return b"" if name is None else space_mark_bytes(name)

    def whole_text(self, id_: int) -> str:
        """Return the text of a token that is valid UTF-8 by itself, empty for other tokens."""
        cached = self._whole_texts.get(id_)
        if cached is None:
            text = self.decode((id_,))
            cached = self._whole_texts[id_] = "" if REPLACEMENT in text else text
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
        if self._has_space_marks:
            return ByteStreamDecoder(lambda id_: self._bytes(id_, skip_special=True))
        return ByteLevelStreamDecoder(self.decode, self.whole_text)


def _encode(inner: tokenizers.Tokenizer, text: str) -> list[int]:
    if len(text) < _LONG_TEXT:
        return list(inner.encode(text, add_special_tokens=False).ids)
    # `encode` keeps the interpreter lock: half a second for a million characters.
    (encoding,) = inner.encode_batch_fast([text], add_special_tokens=False)
    return list(encoding.ids)


def _prepared(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return the same tokenizer, which from now on takes names of special tokens for text."""
    inner.encode_special_tokens = True
    inner.no_truncation()
    inner.no_padding()
    # Each thread has a cache of its own. With the library's 10,000 words, six threads take 20 MB.
    # The method has no public name, and WordPiece has no cache.
    if hasattr(inner.model, "_resize_cache"):
        inner.model._resize_cache(_NUM_CACHED_WORDS)
    return inner

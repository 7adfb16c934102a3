"""The files that a checkpoint has in common with the model from which it was made."""

from __future__ import annotations

from pathlib import Path

_PATTERNS = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "LICENSE*",
    "NOTICE*",
)


def copy_shared_files(base: Path, folder: Path) -> None:
    """Copy the tokenizer, the chat template and the licence. Raises OSError."""
    for pattern in _PATTERNS:
        for file in sorted(base.glob(pattern)):
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())

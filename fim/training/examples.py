"""Token ids of texts and holes, in the form in which the completer asks the model.

The prompt of a hole comes from `fim.prompt.build`, so the tokens of a family, the order of the
parts and the window are those of completion. A family without tokens for fill-in-the-middle has no
holes: it is trained left to right, and its prompt is the text before the cursor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.errors import UnsupportedModelError
from engine.loading.trainable import TrainableModel
from engine.tokenizer import Tokenizer
from fim.prompt.build import build
from fim.prompt.families import FimFamily, detect
from fim.prompt.token_healing import partial_token
from fim.request.model import MIN_WINDOW_FOR_RELATED_FILES
from fim.settings import DEFAULT_FORM, FORMS, Form
from fim.snapshot import Snapshot
from training.holes import LineHole


@dataclass(frozen=True, slots=True)
class ExampleEncoder:
    """Encodes texts and holes for one model."""

    tokenizer: Tokenizer
    family: FimFamily
    form: Form
    """Form of the prompts: the `fim_form` of the model's config.json, or the default."""
    has_header: bool
    """Whether a prompt begins with the path of its document, see `FimModel.uses_related_files`."""
    text_end: int
    """Id that ends a text."""

    @classmethod
    def for_model(cls, model: TrainableModel) -> ExampleEncoder:
        """Return the encoder of a model. Raises ModelError if its tokenizer cannot be used."""
        tokenizer = model.tokenizer()
        family = detect(tokenizer)
        form = next((form for form in FORMS if form == model.config.get("fim_form")), DEFAULT_FORM)
        is_wide = model.architecture.positions >= MIN_WINDOW_FOR_RELATED_FILES
        has_header = family.files is not None and is_wide
        return cls(tokenizer, family, form, has_header, _text_end(model, family))

    @property
    def has_holes(self) -> bool:
        """Whether the model has tokens for fill-in-the-middle."""
        return self.family.fim is not None

    @property
    def end_ids(self) -> frozenset[int]:
        """Ids that end the output of the model."""
        return self.family.stop_ids | {self.text_end}

    def text(self, text: str) -> list[int]:
        """Return the ids of a whole text, with the start of the family and the end of the text."""
        return [*self.family.start, *self.tokenizer.encode_start(text), self.text_end]

    def measured_text(self, text: str) -> tuple[list[int], int]:
        """Return the ids of a text without its end, and how many of them come before the text."""
        start = self.family.start or (self.text_end,)
        return [*start, *self.tokenizer.encode_start(text)], len(start)

    def filled_hole(self, hole: LineHole, max_tokens: int) -> list[int]:
        """Return the ids of a prompt, its middle and its end; empty if the middle is too long."""
        end = self.text_end if self.family.middle_end is None else self.family.middle_end
        middle = [*self.tokenizer.encode(hole.middle), end]
        room = max_tokens - len(middle)
        return [*self.prompt(hole, room), *middle] if room > 0 else []

    def prompt(self, hole: LineHole, max_tokens: int) -> tuple[int, ...]:
        """Return the ids of the prompt of a hole, at most `max_tokens`."""
        snapshot = Snapshot(
            uri="",
            language_id="",
            text=hole.prefix + hole.suffix,
            cursor=len(hole.prefix),
            project=hole.project if self.has_header else "",
            path=hole.path if self.has_header else "",
        )
        encode, encode_start = self.tokenizer.encode, self.tokenizer.encode_start
        return build(snapshot, self.family, encode, max_tokens, self.form, encode_start)


def _text_end(model: TrainableModel, family: FimFamily) -> int:
    declared = model.config.get("eos_token_id")
    ids = declared if isinstance(declared, list) else [declared]
    end = next((id_ for id_ in (family.text_end, *ids) if id_ is not None), None)
    if end is None:
        raise UnsupportedModelError(
            f"{model.name} cannot be tuned: it has no token that ends a text. Set `eos_token_id` "
            "in its config.json."
        )
    return int(end)


def without_partial_token(hole: LineHole) -> LineHole:
    """Return the hole that begins with the partial token before the cursor.

    Completion leaves this token out of the prompt (`fim.prompt.token_healing`).
    """
    partial = partial_token(hole.prefix.rpartition("\n")[2])
    start = len(hole.prefix) - len(partial)
    return replace(hole, prefix=hole.prefix[:start], middle=partial + hole.middle)

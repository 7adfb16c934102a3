"""The format in which a model learns dialogues: the one in which chat will ask it."""

from __future__ import annotations

from dataclasses import dataclass

import tokenizers

from chat.formats import CHATML_TOKENS
from chat.pieces import EncodedDialogue
from chat.rendering import FormatName, choose_format, render, render_dialogue
from chat.training.config import TuneChatConfig
from engine.api import Message, RenderedChat
from engine.errors import ConfigurationError
from engine.loading.trainable import TrainableModel
from engine.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class DialogueFormat:
    """A format of dialogues, with the tokenizer that has its tokens."""

    name: FormatName
    tokenizer: Tokenizer
    template: str = ""
    """The model's own chat template, empty if the format is another."""
    added_ids: tuple[int, ...] = ()
    """Ids of the tokens that the base model does not have."""

    def render(self, messages: tuple[Message, ...]) -> RenderedChat:
        """Return the prompt for the next answer. Raises RequestError; see `chat.rendering`."""
        return render(messages, self.tokenizer, self.template, self.name)

    def render_dialogue(self, messages: tuple[Message, ...]) -> EncodedDialogue:
        """Return the ids of a whole dialogue. Raises RequestError; see `chat.rendering`."""
        return render_dialogue(messages, self.tokenizer, self.template, self.name)


def format_for(base: TrainableModel, config: TuneChatConfig) -> DialogueFormat:
    """Return the format of a model: ChatML or its own template; ChatML's tokens for a base model.

    Raises ModelError without a tokenizer, and ConfigurationError for a base model to which an
    adapter cannot add tokens: the engine adds a token's row to embeddings and output matrix alike,
    so they must be tied.
    """
    tokenizer, template = base.tokenizer(), base.chat_template
    name = choose_format(tokenizer, template)
    if name != "plain":
        return DialogueFormat(name, tokenizer, template)
    if config.method == "lora" and not base.architecture.is_tied:
        raise ConfigurationError(
            f"{base.name} has no chat template, and its embeddings are not tied, so an adapter "
            "cannot add ChatML's tokens to it. Choose the version of the model that was trained "
            'for chat, or a configuration with method = "full".'
        )
    return _with_chat_tokens(tokenizer)


def _with_chat_tokens(tokenizer: Tokenizer) -> DialogueFormat:
    """Return ChatML with a copy of the tokenizer that has its four tokens."""
    missing = [name for name in CHATML_TOKENS if tokenizer.special_id(name) is None]
    inner = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    inner.add_special_tokens(missing)
    extended = Tokenizer(inner, tokenizer.source)
    ids = [extended.special_id(name) for name in missing]
    return DialogueFormat(
        "chatml", extended, added_ids=tuple(id_ for id_ in ids if id_ is not None)
    )

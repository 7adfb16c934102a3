"""The model card of a model that was fine-tuned on dialogues."""

from __future__ import annotations

from chat.rendering import FormatName
from chat.training.config import TuneChatConfig
from chat.training.train import ChatReport
from chat.training.tuned_model import SAMPLE_QUESTION

_FORMATS: dict[FormatName, str] = {
    "chatml": "StarChat's dialogue format (ChatML)",
    "own": "the dialogue format of its chat template",
}


def chat_model_card(
    name: str, base: str, data: str, config: TuneChatConfig, report: ChatReport
) -> str:
    """Return the model card as Markdown, in the format that the Hugging Face Hub reads."""
    kind = "A LoRA adapter" if config.method == "lora" else "A fine-tuned model"
    rows = "\n".join(f"| {key} | {value} |" for key, value in config.model_dump().items() if value)
    sample = f"Answer to *{SAMPLE_QUESTION}*\n\n{_quote(report.sample)}\n" if report.sample else ""
    return f"""---
base_model: {base}
library_name: {"peft" if config.method == "lora" else "transformers"}
tags: [starcoder, chat]
---

# {name}

{kind} for dialogues with {base}, in {_FORMATS[report.format_name]}.

| | before | after |
|---|---|---|
| perplexity of the assistant's words, {report.held_out_dialogues} held-out dialogues | \
{report.perplexity_before:.2f} | {report.perplexity_after:.2f} |

Trained on {report.training_dialogues} dialogues from {data}: {report.blocks} sequences, with a loss
on the assistant's messages only. The content, the licence and the errors of the data carry over to
the result. The licence of the base model still applies.

{sample}
| setting | value |
|---|---|
{rows}
"""


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))

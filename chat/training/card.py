"""The model card of what was tuned."""

from __future__ import annotations

from chat.training.config import TuneChatConfig
from chat.training.train import QUESTION, ChatReport


def chat_model_card(
    name: str, base: str, data: str, config: TuneChatConfig, report: ChatReport
) -> str:
    """Return the card as markdown, in the form that the hub reads."""
    what = "A LoRA adapter" if config.method == "lora" else "A fine-tuned model"
    rows = "\n".join(f"| {key} | {value} |" for key, value in config.model_dump().items() if value)
    sample = f"Asked: *{QUESTION}*\n\n{_quoted(report.sample)}\n" if report.sample else ""
    return f"""---
base_model: {base}
library_name: {"peft" if config.method == "lora" else "transformers"}
tags: [starcoder, chat]
---

# {name}

{what} that makes {base} answer in dialogues, written as StarChat has them (ChatML).

| | before | after |
|---|---|---|
| perplexity of the assistant's words, {report.held_out_dialogues} dialogues held out | \
{report.perplexity_before:.2f} | {report.perplexity_after:.2f} |

Learned from {report.training_dialogues} dialogues of {data}: {report.blocks} sequences, the loss on
the assistant's turns alone. What the data holds, its licence and its faults are in the result too;
the base model's licence goes on to apply.

{sample}
| setting | |
|---|---|
{rows}
"""


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))

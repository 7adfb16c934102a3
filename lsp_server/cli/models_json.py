"""The output of `starcoder-lsp models --json`, from which editors make a menu."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.loading.catalog import Checkpoint, Selection, Unusable
    from engine.machine import Memory


def models_json(
    listed: Sequence[Checkpoint | Unusable], selection: Selection | None, memory: Memory
) -> str:
    """Return a JSON list with one object per model on this machine.

    `fim` says whether the model can fill in the middle; without it, it suits chat. `auto` says
    whether `auto` selects it. A model that cannot be used has only a name and a `reason`.
    """
    from engine.loading.catalog import Unusable, check_eligibility

    def member(model: Checkpoint | Unusable) -> dict[str, Any]:
        if isinstance(model, Unusable):
            return {"name": model.name, "reason": model.reason}
        return {
            "name": model.name,
            "parameters": model.parameters,
            "bytes": model.bytes_on_disk,
            "fim": model.has_fim,
            "auto": selection is not None and model is selection.checkpoint,
            "reason": check_eligibility(model, memory).reason,
        }

    return json.dumps([member(model) for model in listed])

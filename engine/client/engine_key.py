"""Which engine a client means: settings that lead to the same computation have the same key."""

from __future__ import annotations

import hashlib
from importlib import metadata

from engine.errors import StarcoderError
from engine.loading.on_disk import identity_on_disk, path_on_disk
from engine.settings import AUTO_MODEL, EngineSettings

WIRE_VERSION = 1
"""Version of the messages between our client and our engine.

Increase it when an older engine would misunderstand a newer client, or the reverse.
"""


def engine_key(settings: EngineSettings) -> str:
    """Return twelve hex digits that are equal for settings which share an engine process.

    They depend on the weights on disk, whatever the settings call them; on the options that change
    what is computed; and on the version of this program, so that an upgrade does not talk to an old
    process. They do not depend on the idle timeout, and on `offline` only while a model is not on
    disk. A model that is not on disk, and `auto`, are known by their name; the engine that loads
    such a model publishes the key of its weights (`engine.client.aliases`). Reads the file system.
    """
    facts = (
        WIRE_VERSION,
        _product_version(),
        _model_fact(settings.model, settings.revision, settings.offline),
        settings.dtype,
        settings.device,
        settings.draft_model and _model_fact(settings.draft_model, None, settings.offline),
        settings.context_window,
    )
    return hashlib.sha256(repr(facts).encode(errors="surrogateescape")).hexdigest()[:12]


def _model_fact(model: str, revision: str | None, offline: bool) -> tuple[object, ...]:
    path = path_on_disk(model, revision)
    try:
        if path is not None:
            return ("files", identity_on_disk(path))
    except (StarcoderError, OSError):
        pass  # the engine reports what is wrong
    if model == AUTO_MODEL:
        return ("name", model)
    return ("name", model, revision, offline)


def _product_version() -> str:
    try:
        return metadata.version("starcoder-lsp")
    except metadata.PackageNotFoundError:
        return ""

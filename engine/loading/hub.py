"""The hub: files that are on disk already first, a download only when that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

from engine.errors import ModelAccessError, ModelError, ModelNotFoundError
from engine.loading.catalog import has_all_shards

_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json"]


def fetch(
    repo: str, revision: str | None, offline: bool, progress: Callable[[str, float | None], None]
) -> Path:
    """Return the directory of a hub model, downloading what is missing unless `offline`.

    A started download goes on where it stopped. Raises ModelNotFoundError or ModelAccessError.
    """
    local = _on_disk(repo, revision)
    if local is not None:
        return local
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelNotFoundError(
            f"{repo} is not on this machine, and downloading is off (offline). Get it once with "
            f"`hf download {repo}`, or switch offline off."
        )
    try:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=_FILES, tqdm_class=_reporting(progress)
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise _explained(error, repo, revision) from error


def _on_disk(repo: str, revision: str | None) -> Path | None:
    try:
        found = Path(
            snapshot_download(repo, revision=revision, allow_patterns=_FILES, local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    # A snapshot that only some other program began holds no weights; an unfinished one may be
    # completed by asking again.
    whole = (
        (found / "config.json").exists()
        and any(found.glob("*.safetensors"))
        and has_all_shards(found)
    )
    return found if whole else None


def _explained(error: Exception, repo: str, revision: str | None) -> ModelError:
    if isinstance(error, GatedRepoError):
        return ModelAccessError(
            f"{repo} is a gated model. Two steps open it: accept its licence on the model's page "
            f"(hub: {repo}) while signed in, then run `hf auth login` with a token of that account."
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(f"{repo} has no revision {revision!r}.")
    if isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        return ModelNotFoundError(
            f"The hub has no model {repo!r}, or your token may not see it. Check the spelling; "
            "for a private model run `hf auth login`."
        )
    return ModelNotFoundError(
        f"{repo} is not on this machine and the hub cannot be reached ({type(error).__name__}). "
        "Check the network, or name a model that is here: `starcoder-lsp models` lists them."
    )


def _reporting(progress: Callable[[str, float | None], None]) -> type[Any]:
    """Return a progress bar that reports downloaded bytes rather than draws."""

    class Reporting(tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self.total and getattr(self, "unit", "") == "B":
                progress("downloading the model", min(1.0, self.n / self.total))
            return bool(shown)

        def display(self, *_: Any, **__: Any) -> None:
            """Draw nothing: stderr is the log's."""

    return Reporting

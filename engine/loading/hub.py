"""Models from the hub: from the local cache, or downloaded if that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from tqdm.auto import tqdm

from engine.errors import ModelAccessError, ModelError, ModelNotFoundError
from engine.loading.on_disk import cached_snapshot

_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json"]


def fetch(
    repo: str, revision: str | None, offline: bool, progress: Callable[[str, float | None], None]
) -> Path:
    """Return the directory of a hub model, downloading missing files unless `offline`.

    An interrupted download is resumed. Raises ModelNotFoundError or ModelAccessError.
    """
    local = cached_snapshot(repo, revision)
    if local is not None:
        return local
    if offline or constants.HF_HUB_OFFLINE:
        raise ModelNotFoundError(
            f"{repo} is not on this machine, and downloading is off (offline). Download it with "
            f"`hf download {repo}`, or switch offline off."
        )
    try:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=_FILES, tqdm_class=_progress_bar(progress)
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise _explain(error, repo, revision) from error


def may_download(repo: str, offline: bool) -> bool:
    """Return whether `fetch` tries to download a model that is not on this machine."""
    try:
        validate_repo_id(repo)
    except HFValidationError:
        return False
    return not (offline or constants.HF_HUB_OFFLINE)


def _explain(error: Exception, repo: str, revision: str | None) -> ModelError:
    if isinstance(error, GatedRepoError):
        return ModelAccessError(
            f"{repo} is a gated model. To get access, accept its licence on the model's page "
            f"(hub: {repo}) while signed in, then run `hf auth login` with a token of that account."
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(f"{repo} has no revision {revision!r}.")
    if isinstance(error, (RepositoryNotFoundError, HFValidationError)):
        return ModelNotFoundError(
            f"The hub has no model {repo!r}, or your token has no access to it. Check the "
            "spelling; for a private model run `hf auth login`."
        )
    return ModelNotFoundError(
        f"{repo} is not on this machine and the hub cannot be reached ({type(error).__name__}). "
        "Check the network, or set a model that is here: `starcoder-lsp models` lists them."
    )


def _progress_bar(progress: Callable[[str, float | None], None]) -> type[tqdm]:
    """Return a progress bar class that reports downloaded bytes instead of drawing."""

    class ReportingBar(tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> bool | None:
            is_displayed = super().update(n)
            if self.total and getattr(self, "unit", "") == "B":
                progress("downloading the model", min(1.0, self.n / self.total))
            return bool(is_displayed)

        def display(self, *_: object, **__: object) -> None:
            """Draw nothing, since stderr is the log."""

    return ReportingBar

"""An environment that has only what a GPU machine has, and the wheels that travel with the kit.

The rehearsal runs in the development environment, which has more. So the processes of its steps
refuse to import packages that would be missing on the day. A `sitecustomize` module on PYTHONPATH
installs the hook before any other code runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from benchmarks.gpu.wheels import machine_packages, missing_packages, normalized

_HOOK = '''
import sys

MISSING = frozenset({missing!r})


class _Refuse:
    """Refuses packages that a GPU machine does not have."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"{{name}} is not on a GPU machine: add its wheel", name=name)
        return None


sys.meta_path.insert(0, _Refuse())
'''


def modules_that_are_missing() -> set[str]:
    """Return the top-level modules of this environment that a GPU machine will not have."""
    available = {normalized(name) for name in (*machine_packages(), *missing_packages())}
    return {
        module
        for module, packages in metadata.packages_distributions().items()
        if not available.intersection(map(normalized, packages))
    }


@contextmanager
def isolated_environment(
    environment: Mapping[str, str], *, enabled: bool
) -> Iterator[dict[str, str]]:
    """Yield the environment for the processes of the steps; unchanged if not `enabled`."""
    if not enabled:
        yield dict(environment)
        return
    own = {"starcoder-lsp"}
    modules = modules_that_are_missing() - {
        module
        for module, packages in metadata.packages_distributions().items()
        if own.intersection(map(normalized, packages))
    }
    with tempfile.TemporaryDirectory() as folder:
        hook = _HOOK.format(missing=sorted(modules))
        (Path(folder) / "sitecustomize.py").write_text(hook, encoding="utf-8")
        yield {**environment, "PYTHONPATH": folder, "CUDA_VISIBLE_DEVICES": ""}

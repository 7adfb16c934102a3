"""Sandboxes with each way to isolate a program that this machine has."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.backends import Backend
from sandbox.command import Limits
from sandbox.sandbox import Sandbox, backend_problem
from tests.conftest import OPTIONAL

LIMITS = Limits(seconds=20, cpu_seconds=10)


def require(backend: Backend) -> None:
    """Skip a test if this machine does not have a backend, or fail it if all tests must run."""
    if (problem := backend_problem(backend)) is not None:
        if os.environ.get("STARCODER_LSP_SANDBOX") == "required":
            pytest.fail(f"{backend}: {problem}")
        pytest.skip(f"{OPTIONAL}{backend}: {problem}")


@pytest.fixture(params=[Backend.BUBBLEWRAP, Backend.OWN])
def backend(request: pytest.FixtureRequest) -> Backend:
    backend: Backend = request.param
    require(backend)
    return backend


@pytest.fixture
def box(backend: Backend) -> Sandbox:
    return Sandbox(backend, LIMITS)


@pytest.fixture(params=["home", "temporary", "project"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """A folder of the user, and what a sandbox may read: the folder itself if it is a project."""
    parent = {"home": Path.home()}.get(request.param)
    if parent is not None and not os.access(parent, os.W_OK):
        pytest.skip("optional: the home folder cannot be written")
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o777)  # if the tests run as root, the program is another user
        yield folder, (folder,) if request.param == "project" else ()

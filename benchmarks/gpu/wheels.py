"""Download the wheels that a GPU machine lacks: `python -m benchmarks.gpu.wheels`.

The machine has Python 3.12 and cannot reach a package registry. `machine_packages.txt` lists what
it has. All other packages that the product, its training and its tests need travel as wheels, in
the versions of `requirements-dev.lock`. There, install them with

    python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .whl/*.whl
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = "3.12"
_PLATFORMS = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
"""Versions of the C library in the names of wheels; pip matches each exactly."""
_LEGACY_PLATFORMS = ("manylinux2014_x86_64", "manylinux1_x86_64")

_TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "openai")
"""Packages that the tests need, besides the product and its training."""
_ENVIRONMENT = {
    "python_version": "3.12",
    "python_full_version": "3.12.3",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


def normalized(name: str) -> str:
    """Return the normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def machine_packages() -> set[str]:
    """Return the names of the packages that are installed on the machine."""
    text = Path(__file__).with_name("machine_packages.txt").read_text(encoding="utf-8")
    return {normalized(name) for name in text.split()}


def missing_packages() -> set[str]:
    """Return the names of the packages that the kit needs and the machine lacks.

    What they require in turn is read from the metadata of the development environment.
    """
    present = machine_packages()
    missing = set[str]()
    queue = [Requirement(text) for text in (*_own_requirements(), *_TOOLS)]
    while queue:
        requirement = queue.pop()
        name = normalized(requirement.name)
        if name in present or name in missing or not applies_to_machine(requirement, ""):
            continue
        missing.add(name)
        for text in metadata.requires(name) or ():
            needed = Requirement(text)
            if any(applies_to_machine(needed, extra) for extra in (*requirement.extras, "")):
                needed.marker = None
                queue.append(needed)
    return missing


def _own_requirements() -> list[str]:
    """Return the requirements of the product and of its training."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["train"]]


def applies_to_machine(requirement: Requirement, extra: str) -> bool:
    """Return whether a requirement applies to the machine, with an extra or with none."""
    marker = requirement.marker
    return marker is None or marker.evaluate({**_ENVIRONMENT, "extra": extra})


def pins(names: set[str]) -> list[str]:
    """Return `NAME==VERSION` of each package, from the lock file.

    Raises ValueError for a package that is not in it.
    """
    lines = (_ROOT / "requirements-dev.lock").read_text(encoding="utf-8").splitlines()
    pinned = [line.split()[0] for line in lines if "==" in line and not line.startswith("#")]
    versions = {normalized(pin.split("==")[0]): pin for pin in pinned}
    if absent := sorted(names - versions.keys()):
        raise ValueError(f"requirements-dev.lock lacks {', '.join(absent)}; run `make lock`")
    return sorted(versions[name] for name in names)


def download(target: Path) -> list[Path]:
    """Download the wheels to `target` and return them. Raises CalledProcessError if one fails."""
    platforms = [f"manylinux_{version}_x86_64" for version in _PLATFORMS]
    options = [
        option for name in (*platforms, *_LEGACY_PLATFORMS) for option in ("--platform", name)
    ]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", _PYTHON, "--implementation", "cp"]
    subprocess.run(
        [*command, *options, "--dest", str(target), *pins(missing_packages())], check=True
    )
    return sorted(target.glob("*.whl"))


def main(
    target: Annotated[Path, typer.Option(help="Folder for the wheels; git ignores it.")] = Path(
        ".whl"
    ),
) -> None:
    """Download the wheels and print their number and size."""
    wheels = download(target)
    size = sum(wheel.stat().st_size for wheel in wheels)
    print(f"{len(wheels)} wheels, {size / 1e6:.1f} MB, in {target}")


if __name__ == "__main__":
    typer.run(main)

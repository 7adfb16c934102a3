"""A Python environment like that of a small project: an interpreter with pytest, no plugins."""

from __future__ import annotations

import os
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("_pytest", "iniconfig", "packaging", "pluggy", "py", "pygments", "pytest")


def make_environment(folder: Path) -> Path:
    """Create an environment in a folder, and return its interpreter.

    The packages are links to those of this process, so nothing is installed.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for name in _PACKAGES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        os.symlink(source, packages / (name if source.is_dir() else source.name))
    return folder / "bin" / "python3"

"""Download the packages that the recipe trains on.

The lists are pinned, so every machine gets the same packages. pip installs each Python package into
its own folder without dependencies. npm installs packages with their dependencies, which are source
code too, and packs further packages that contain the TypeScript or JavaScript they are built from.
apt downloads packages of Debian with Go and Rust, and source packages with Java, C and C++, which
are only unpacked. No code of a package is run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from training.collect import LANGUAGES, LISTS

_NUM_WORKERS = 6


def download(folder: Path, say: Callable[[str], None] = print) -> None:
    """Download to `python/NAME` and `node/node_modules` in `folder`; existing ones are kept.

    Packages that cannot be downloaded are reported and skipped.
    """
    pins = (LISTS / "python.txt").read_text(encoding="utf-8").split()
    with ThreadPoolExecutor(_NUM_WORKERS) as pool:
        missing = [
            name for name in pool.map(lambda pin: _install_python(folder, pin), pins) if name
        ]
    if missing:
        say(f"could not be downloaded, skipped: {', '.join(missing)}")
    _install_node(folder / "node", say)
    _pack_node(folder / "npm", say)
    _download_debian(folder / "debian", say)


def _install_python(folder: Path, pin: str) -> str:
    """Install one package; return its name if that failed, else an empty string."""
    target = folder / "python" / pin.split("==")[0]
    if target.exists():
        return ""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--only-binary",
        ":all:",
        "--target",
        str(target),
        pin,
    ]
    process = subprocess.run(command, capture_output=True, check=False)
    if process.returncode:
        shutil.rmtree(target, ignore_errors=True)
    return pin if process.returncode else ""


def _install_node(folder: Path, say: Callable[[str], None]) -> None:
    if (folder / "node_modules").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        say("npm is not installed: JavaScript and TypeScript are skipped")
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LISTS / "package.json", folder / "package.json")
    command = [
        npm,
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--legacy-peer-deps",
        "--loglevel=error",
    ]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if process.returncode:
        say(f"npm install failed: JavaScript and TypeScript are skipped: {process.stderr.strip()}")


def _pack_node(folder: Path, say: Callable[[str], None]) -> None:
    """Unpack the packages of `npm.txt` to `x/NAME`, without their dependencies."""
    if shutil.which("npm") is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    pins = (LISTS / "npm.txt").read_text(encoding="utf-8").split()
    with ThreadPoolExecutor(_NUM_WORKERS) as pool:
        missing = [pin for pin in pool.map(lambda pin: _pack_one(folder, pin), pins) if pin]
    if missing:
        say(f"could not be downloaded, skipped: {', '.join(missing)}")


def _pack_one(folder: Path, pin: str) -> str:
    """Download and unpack one npm package; return its name if that failed, else an empty string."""
    name, _, version = pin.rpartition("@")
    archive = f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    target = folder / "x" / archive.removesuffix(".tgz")
    if target.exists():
        return ""
    process = subprocess.run(
        ["npm", "pack", "--silent", pin], cwd=folder, capture_output=True, check=False
    )
    if process.returncode or not _unpack(folder / archive, target, ["--strip-components=1"]):
        return pin
    return ""


def _download_debian(folder: Path, say: Callable[[str], None]) -> None:
    """Unpack the packages of `debian.txt` to `tree/NAME`.

    A pin that begins with `src:` names a source package: apt needs its `deb-src` entries for these.
    """
    if shutil.which("apt-get") is None:
        say("apt-get is not installed: Go, Rust, Java, C and C++ are skipped")
        return
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    lines = (LISTS / "debian.txt").read_text(encoding="utf-8").splitlines()
    missing = [
        pin
        for pin in (line.split(maxsplit=1)[0] for line in lines)
        if not _unpack_debian(archives, folder / "tree", pin)
    ]
    if missing:
        say(f"could not be downloaded, skipped (has apt deb-src entries?): {', '.join(missing)}")


def _unpack_debian(archives: Path, trees: Path, pin: str) -> bool:
    """Download and unpack one package of Debian; return whether it is there."""
    is_source = pin.startswith("src:")
    name, _, version = pin.removeprefix("src:").partition("=")
    target = trees / name
    if target.exists():
        return True
    command = ["source", "--download-only", "--only-source"] if is_source else ["download"]
    subprocess.run(
        ["apt-get", "--quiet", *command, f"{name}={version}"],
        cwd=archives,
        capture_output=True,
        check=False,
    )
    if is_source:
        patterns = [f"*{suffix}" for suffix in LANGUAGES]
        options = ["--strip-components=1", "--wildcards", *patterns]
        # Vendored packages may be copies of held-out projects.
        skipped = (".asc", "vendor")
        files = [
            file
            for file in sorted(archives.glob(f"{name}_*.orig*.tar.*"))
            if not any(word in file.name for word in skipped)
        ]
        unpacked = [_unpack(file, target, options) for file in files]
        return any(unpacked)
    for file in archives.glob(f"{name}_*.deb"):
        target.mkdir(parents=True)
        process = subprocess.run(["dpkg", "-x", file, target], capture_output=True, check=False)
        return process.returncode == 0
    return False


def _unpack(archive: Path, target: Path, options: list[str]) -> bool:
    """Unpack a tar archive; return whether that succeeded."""
    if not archive.exists():
        return False
    target.mkdir(parents=True, exist_ok=True)
    command = ["tar", "-x", "-f", str(archive), "-C", str(target), "--no-same-owner", *options]
    # A pattern of a language that the archive does not contain makes tar fail.
    process = subprocess.run(command, capture_output=True, check=False)
    return process.returncode == 0 or any(target.iterdir())

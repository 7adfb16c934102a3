"""All packages are locked by version and hash, and fit what the project declares."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lsp_server import __version__

ROOT = Path(__file__).parent.parent
LOCKS = {name: ROOT / f"requirements{name}.lock" for name in ("", "-dev", "-torch", "-cuda")}
SERVERS = sorted((ROOT / ".ci/servers").glob("*.in"))
LOCKS |= {f"servers/{file.stem}": file.with_suffix(".lock") for file in SERVERS}
PLOTS = ROOT / ".ci/plots.in"
LOCKS["plots"] = PLOTS.with_suffix(".lock")
PACKAGE_LOCK = ROOT / "editors/vscode/package-lock.json"
VSCODE = ROOT / "editors/vscode"


@cache
def project() -> dict[str, Any]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(content["project"])


@cache
def locked(name: str) -> dict[str, tuple[str, int]]:
    """The version and the number of hashes of each package in a lock file."""
    text = LOCKS[name].read_text(encoding="utf-8").replace("\\\n", " ")
    packages = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            match = re.fullmatch(r"([a-z0-9.-]+)==(\S+)(?: ; .+)?", requirement)
            assert match, f"{line[:60]} is not pinned"
            assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), line[:60]
            packages[canonicalize_name(match[1])] = match[2], len(hashes)
    return packages


def requirements(*extras: str) -> list[Requirement]:
    texts = list(project()["dependencies"])
    for extra in extras:
        texts += project()["optional-dependencies"][extra]
    return [each for each in map(Requirement, texts) if each.name != project()["name"]]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash(name: str) -> None:
    assert locked(name)
    assert [package for package, (_, count) in locked(name).items() if count == 0] == []


@pytest.mark.parametrize(("name", "extras"), [("", ()), ("-dev", ("train", "dev"))])
def test_the_lock_fits_the_declared_dependencies(name: str, extras: tuple[str, ...]) -> None:
    versions = {**locked(name), **locked("-torch")}
    for requirement in requirements(*extras):
        version, _ = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement} is declared but {version} is locked; run `make lock`"
        )


def test_the_development_lock_has_the_same_versions_as_that_of_the_product() -> None:
    development = locked("-dev")
    for package, version in locked("").items():
        assert development[package] == version


@pytest.mark.parametrize("source", [*SERVERS, PLOTS], ids=lambda source: str(source.stem))
def test_the_lock_of_an_environment_fits_its_source(source: Path) -> None:
    name = source.stem if source == PLOTS else f"servers/{source.stem}"
    lines = [line.partition("#")[0] for line in source.read_text(encoding="utf-8").splitlines()]
    for requirement in map(Requirement, filter(None, lines)):
        version, _ = locked(name)[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True)


def test_vllm_uses_the_torch_of_the_product() -> None:
    assert not {"torch", "triton"} & locked("servers/vllm").keys()


def test_the_build_is_locked() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for text in content["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(locked("")[requirement.name][0])


def test_torch_and_cuda_are_not_in_the_other_files() -> None:
    assert set(locked("-torch")) == {"torch"}
    assert locked("-torch")["torch"][1] > 10, "some platforms have no hash"
    for name in ("", "-dev"):
        packages = locked(name).keys() - ({"triton"} if name == "-dev" else set())
        assert not packages & (locked("-cuda").keys() | {"torch"})


def test_every_dependency_has_an_upper_bound() -> None:
    unbounded = [
        requirement.name
        for requirement in requirements("train")
        if not any(each.operator in ("<", "==", "~=") for each in requirement.specifier)
        and not requirement.name.startswith("tree-sitter-")
    ]
    assert unbounded == []


def test_pip_installs_the_locked_packages_and_no_other_file(tmp_path: Path) -> None:
    """The options of the Makefile make pip reject a package without a hash or with another one."""
    wheel = tmp_path / "helper-1.0-py3-none-any.whl"
    _write_wheel(wheel)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (options,) = re.findall(
        r"^LOCKED +:= \$\(INSTALL\) (.*) --requirement$", makefile, re.MULTILINE
    )
    lock = tmp_path / "lock"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index"]
    command += ["--find-links", str(tmp_path), *options.split(), "--requirement", str(lock)]
    for line in ("helper==1.0", f"helper==1.0 --hash=sha256:{'0' * 64}"):
        lock.write_text(line, encoding="utf-8")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "hash" in done.stderr.lower()


def _write_wheel(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as wheel:
        info = "helper-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_every_npm_package_has_a_hash_and_fits_the_manifest() -> None:
    lock = json.loads(PACKAGE_LOCK.read_text(encoding="utf-8"))
    manifest = json.loads((VSCODE / "package.json").read_text(encoding="utf-8"))
    assert lock["version"] == manifest["version"]
    assert lock["packages"][""]["devDependencies"] == manifest["devDependencies"]
    for name, package in lock["packages"].items():
        assert "resolved" not in package, f"{name} names the host of a registry"
        assert name == "" or package["integrity"].startswith("sha512-"), f"{name} has no hash"


def test_lock_files_name_no_host() -> None:
    for file in LOCKS.values():
        assert "://" not in file.read_text(encoding="utf-8")


def test_the_extension_has_the_version_of_the_server() -> None:
    manifest = json.loads((VSCODE / "package.json").read_text(encoding="utf-8"))
    assert manifest["version"] == __version__


def test_the_list_of_packages_is_complete(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py", reason="optional: needs cyclonedx-bom; run make")
    output = tmp_path / "sbom.json"
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements"]
    command += [str(LOCKS[""]), "--pyproject", str(ROOT / "pyproject.toml")]
    subprocess.run([*command, "--output-file", str(output)], check=True, capture_output=True)
    components = json.loads(output.read_text(encoding="utf-8"))["components"]
    versions = {canonicalize_name(each["name"]): each["version"] for each in components}
    assert versions == {name: version for name, (version, _) in locked("").items()}
    assert all(each["externalReferences"][0]["hashes"] for each in components)

"""The rehearsal has only the packages of a GPU machine and the wheels that travel with the kit."""

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.gpu.isolation import isolated_environment, modules_that_are_missing
from benchmarks.gpu.wheels import applies_to_machine, machine_packages, missing_packages, pins

ENVIRONMENT = {"PATH": "/usr/bin", "PYTHONPATH": "/elsewhere"}


@pytest.fixture
def installed_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of an installed package that no GPU machine has."""
    (tmp_path / "absent_module.py").write_text("", encoding="utf-8")
    facts = tmp_path / "absent_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: absent-package\nVersion: 1.0\n", encoding="utf-8"
    )
    (facts / "top_level.txt").write_text("absent_module\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "absent_module"


def import_module(module: str, environment: dict[str, str], folder: Path) -> str:
    """Return the last line of what Python reports when it imports a module, also from `folder`."""
    code = f"import sys; sys.path.append({str(folder)!r}); import {module}; print('imported')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).splitlines()[-1]


def test_a_package_that_a_gpu_machine_lacks_cannot_be_imported(
    installed_module: str, tmp_path: Path
) -> None:
    assert installed_module in modules_that_are_missing()
    with isolated_environment(ENVIRONMENT, enabled=True) as environment:
        message = import_module(installed_module, environment, tmp_path)
        assert message == (
            "ModuleNotFoundError: absent_module is not on a GPU machine: add its wheel"
        )
        assert "is not on a GPU machine" in import_module(
            f"{installed_module}.part", environment, tmp_path
        )


# numpy is on the machine, pygls is a wheel, and the last one is a module of this project.
@pytest.mark.parametrize("module", ["numpy", "pygls", "json", "engine.errors"])
def test_other_packages_can_be_imported(installed_module: str, tmp_path: Path, module: str) -> None:
    assert installed_module
    with isolated_environment(ENVIRONMENT, enabled=True) as environment:
        assert import_module(module, environment, tmp_path) == "imported"


def test_an_isolated_process_has_no_gpu_and_no_other_path() -> None:
    with isolated_environment(ENVIRONMENT, enabled=True) as environment:
        folder = Path(environment.pop("PYTHONPATH"))
        assert environment == {"PATH": "/usr/bin", "CUDA_VISIBLE_DEVICES": ""}
        assert [file.name for file in folder.iterdir()] == ["sitecustomize.py"]
    assert not folder.exists()
    assert ENVIRONMENT["PYTHONPATH"] == "/elsewhere"


def test_without_isolation_the_environment_is_unchanged(
    installed_module: str, tmp_path: Path
) -> None:
    with isolated_environment(ENVIRONMENT, enabled=False) as environment:
        assert environment == ENVIRONMENT
        assert environment is not ENVIRONMENT
        assert import_module(installed_module, environment, tmp_path) == "imported"


def test_packages_of_the_product_travel_but_not_those_of_the_machine() -> None:
    missing = missing_packages()
    assert missing >= {"pygls", "lsprotocol", "pytest-asyncio"}
    assert not missing & {"torch", "numpy", "transformers", "starcoder-lsp"}
    assert not missing & machine_packages()


def test_each_missing_package_has_a_version() -> None:
    missing = missing_packages()
    lines = pins(missing)
    assert len(lines) == len(missing) > 10
    assert all(Requirement(line).specifier for line in lines)
    assert any(line.startswith("pygls==") for line in lines)


def test_a_package_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks no-such-package; run `make lock`"):
        pins({"pygls", "no-such-package"})


@pytest.mark.parametrize(
    ("requirement", "extra", "applies"),
    [
        ("name", "", True),
        ("name; sys_platform == 'win32'", "", False),
        ("name; python_version < '3.12'", "", False),
        ("name; python_version >= '3.12' and sys_platform == 'linux'", "", True),
        ("name; extra == 'http'", "", False),
        ("name; extra == 'http'", "http", True),
    ],
)
def test_requirements_are_those_of_the_machine(
    requirement: str, extra: str, *, applies: bool
) -> None:
    assert applies_to_machine(Requirement(requirement), extra) is applies

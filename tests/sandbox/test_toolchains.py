"""The tools of compiled languages are found without starting anything."""

from pathlib import Path

import pytest

from sandbox.toolchains import cargo_of, go_of_path


@pytest.fixture
def rustup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of rustup with two toolchains, and the program that chooses one."""
    home = tmp_path / "rustup"
    for name in ("stable-x86_64", "1.80.0-x86_64"):
        make_program(home / "toolchains" / name / "bin" / "cargo")
    (home / "settings.toml").write_text('version = "12"\ndefault_toolchain = "stable-x86_64"\n')
    make_program(tmp_path / "bin" / "rustup")
    (tmp_path / "bin" / "cargo").symlink_to("rustup")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("RUSTUP_HOME", str(home))
    return home / "toolchains"


def make_program(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("other.toml", "", "stable-x86_64"),
        ("rust-toolchain", "1.80.0\n", "1.80.0-x86_64"),
        ("rust-toolchain.toml", '[toolchain]\nchannel = "1.80.0"\n', "1.80.0-x86_64"),
        ("rust-toolchain.toml", '[toolchain]\nchannel = "1.99"\n', "stable-x86_64"),
        ("rust-toolchain.toml", '[toolchain]\nchannel = "../../evil"\n', "stable-x86_64"),
    ],
)
def test_the_toolchain_that_a_project_names(
    rustup: Path, tmp_path: Path, name: str, text: str, expected: str
) -> None:
    project = tmp_path / "project"
    (project / "crate").mkdir(parents=True)
    (project / name).write_text(text)
    cargo = cargo_of(project / "crate", project)
    assert cargo is not None
    assert cargo.path == rustup / expected / "bin" / "cargo"
    assert cargo.readable == (rustup / expected,)


def test_a_file_above_the_workspace_names_no_toolchain(rustup: Path, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "rust-toolchain").write_text("1.80.0")
    cargo = cargo_of(tmp_path / "project", tmp_path / "project")
    assert cargo is not None
    assert cargo.path.parts[-3] == "stable-x86_64"


def test_installations_without_rustup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    make_program(tmp_path / "bin" / "cargo")
    make_program(tmp_path / "bin" / "go")
    assert cargo_of(tmp_path, tmp_path) is None
    assert go_of_path() is None
    (tmp_path / "lib" / "rustlib").mkdir(parents=True)
    (tmp_path / "src" / "runtime").mkdir(parents=True)
    cargo, go = cargo_of(tmp_path, tmp_path), go_of_path()
    assert cargo is not None
    assert cargo.readable == (tmp_path,)
    assert go is not None
    assert go.path == tmp_path / "bin" / "go"

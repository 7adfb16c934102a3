"""A compiled library that is damaged, or that another user could have written, is not loaded."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.kernels import build
from engine.kernels.build import load_kernels
from engine.network.quantised import Quantised

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library that the kernels of this machine are in."""
    folder = tmp_path_factory.mktemp("kernels") / "deep" / "kernels"
    umask = os.umask(0)
    try:
        load_kernels(folder)
    except build.NoKernelsError as error:
        pytest.skip(f"optional: {error}")
    finally:
        os.umask(umask)
    return folder


@pytest.fixture
def folder(compiled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled, tmp_path / "kernels")


def library_in(folder: Path) -> Path:
    (library,) = folder.glob("*.so")
    return library


@pytest.fixture
def compilations(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of compilations so far, each of which takes the compiler's result from before.

    The compiler itself takes seconds; the last test of this module runs it.
    """
    folders: list[Path] = []

    def compile_quickly(_: str, scratch: Path) -> Path:
        folders.append(scratch)
        return Path(shutil.copy(library_in(compiled), scratch / "step.so"))

    monkeypatch.setattr(build, "_compile", compile_quickly)
    return folders


def works(native: build.Native) -> bool:
    """Whether the library computes: a table of numbers is expanded."""
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
    product = Quantised(weight, None, 8)
    rows = native.expand(product.native_matrix, 0, 32).float()
    return torch.allclose(rows, weight, atol=0.1)


def test_files_are_private_with_any_umask(compiled: Path) -> None:
    for path, mode in ((compiled, 0o700), (library_in(compiled), 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_an_unchanged_library_is_not_compiled_again(folder: Path, compilations: list[Path]) -> None:
    assert works(load_kernels(folder))
    assert compilations == []


def truncate(library: Path) -> None:
    os.truncate(library, library.stat().st_size // 2)


def rename_to_its_hash(library: Path) -> None:
    """Write a file with the right hash that is no library."""
    content = b"\x7fELF" + bytes(1000)
    key = library.name.partition("-")[0]
    library.unlink()
    (library.parent / f"{key}-{hashlib.sha256(content).hexdigest()}.so").write_bytes(content)


def wrong_functions(library: Path) -> None:
    """Write a library with the right hash and without the functions of the kernels."""
    subprocess.run(
        ["c++", "-shared", "-fPIC", "-x", "c++", "-", "-o", library],
        input=b"int nothing;",
        check=True,
    )
    content = library.read_bytes()
    key = library.name.partition("-")[0]
    library.rename(library.parent / f"{key}-{hashlib.sha256(content).hexdigest()}.so")


def flip_byte(library: Path) -> None:
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)


def link_elsewhere(library: Path) -> None:
    target = library.parent.parent / library.name
    library.rename(target)
    library.symlink_to(target)


def replace_by_fifo(library: Path) -> None:
    library.unlink()
    os.mkfifo(library)


DAMAGE: list[Damage] = [
    truncate,
    flip_byte,
    lambda library: library.write_bytes(b""),
    lambda library: library.write_bytes(b"garbage" * 1000),
    rename_to_its_hash,
    wrong_functions,
    link_elsewhere,
    replace_by_fifo,
    lambda library: library.chmod(0o722),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_library_is_compiled_again(
    folder: Path, damage: Damage, compilations: list[Path]
) -> None:
    damage(library_in(folder))
    assert works(load_kernels(folder))
    assert len(compilations) == 1
    assert works(load_kernels(folder))
    assert len(compilations) == 1, "the new library was not kept"
    library = library_in(folder)
    assert not library.is_symlink()
    assert stat.S_IMODE(library.stat().st_mode) == 0o700


def test_libraries_of_a_folder_that_others_could_write_to_are_not_used(
    folder: Path, compilations: list[Path]
) -> None:
    folder.chmod(0o777)
    assert works(load_kernels(folder))
    assert len(compilations) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def link_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def file_in_place(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def give_away(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("optional: only root can give a file to another user")
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("damage", [link_folder, file_in_place, give_away])
def test_with_an_unusable_folder_the_kernels_work_too(
    folder: Path, damage: Damage, compilations: list[Path]
) -> None:
    damage(folder)
    assert works(load_kernels(folder))
    assert len(compilations) == 1
    assert not compilations[0].exists(), "the temporary folder is left"


def test_a_library_of_another_user_is_not_used(folder: Path, compilations: list[Path]) -> None:
    give_away(library_in(folder))
    assert works(load_kernels(folder))
    assert len(compilations) == 1
    assert library_in(folder).stat().st_uid == os.getuid()


def test_an_engine_uses_the_kernels_after_its_library_was_cut(tmp_path: Path) -> None:
    """The engine's own path: `KernelBuild`, in a process of its own."""
    script = "from engine.kernels.build import KernelBuild; assert KernelBuild().wait() is not None"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", script]
    if subprocess.run(command, env=environment, check=False).returncode:
        pytest.skip("optional: needs a C++ compiler")
    (library,) = tmp_path.rglob("*.so")
    truncate(library)
    subprocess.run(command, env=environment, check=True)
    (library,) = tmp_path.rglob("*.so")
    assert hashlib.sha256(library.read_bytes()).hexdigest() in library.name

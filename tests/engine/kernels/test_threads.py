"""The threads of a step share its work without gaps, and never wait for a thread that has none."""

import subprocess
from pathlib import Path

import pytest

from engine.kernels import build
from engine.kernels.build import NoKernelsError

SOURCE = Path(__file__).with_name("team.cpp")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ test, compiled like the kernels, but for any processor."""
    try:
        compiler = build._find_compiler()
    except NoKernelsError as error:
        pytest.skip(f"optional: {error}")
    program = tmp_path_factory.mktemp("team") / "team"
    flags = ["-std=c++17", "-O2", "-fopenmp", "-Wno-psabi", f"-I{Path(build.__file__).parent}"]
    subprocess.run([compiler, *flags, str(SOURCE), "-o", str(program)], check=True)
    return program


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_each_item_is_done_once_and_in_order(program: Path, threads: int) -> None:
    run = subprocess.run([program, str(threads)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_a_late_thread_delays_no_other(program: Path) -> None:
    run = subprocess.run([program, "2", "late"], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert float(run.stdout) < 1000  # the late thread begins after 1.5 s

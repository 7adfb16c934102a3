"""Runs the tests of a project with its own runner, independently of what the product has checked.

A copy of the project is unpacked in the sandbox, so the tests can change nothing else.
"""

from __future__ import annotations

import atexit
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from benchmarks.written_tests.project import Project
from chat.tasks.dialects.base import Framework
from engine.errors import ConfigurationError
from sandbox.command import PRIVATE_FOLDER, Command, Limits, Outcome
from sandbox.sandbox import make_sandbox

LIMITS = Limits(
    seconds=180,
    cpu_seconds=180,
    memory_bytes=1 << 40,  # Node and Java reserve far more addresses than they use
    total_memory_bytes=3 << 30,
    file_bytes=256 << 20,
    folder_bytes=1 << 30,
    open_files=1024,
    processes=512,  # threads count too
)
_UNPACK = 'mkdir project && cd project && tar xf - && exec "$@"'
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_MAX_DETAIL = 4000
_MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a runner reported about the tests of one project."""

    __test__ = False  # for pytest, which collects classes with such a name
    outcome: Literal["passed", "failed", "not run"]
    num_passed: int = 0
    """Number of tests that passed, with those that the project had before."""
    detail: str = ""
    """Why the tests were not run, or the end of the output of a failed run."""


@dataclass(frozen=True, slots=True)
class Runner:
    """How the tests of a framework are run in a folder."""

    command: tuple[str, ...]
    """The program and its arguments; `{file}` is the test file, `{stem}` its name."""
    passed: str
    """A regular expression for the number of tests that passed, or for each of these tests."""
    environment: dict[str, str] = field(default_factory=dict)
    readable: tuple[Path, ...] = ()
    """What the program needs besides the system's folders."""
    lacks: str = r"(?!)"
    """A regular expression for output which means that a part of the toolchain is missing."""


class _MissingToolchainError(Exception):
    """The reason why tests of a framework cannot be run here."""


def modules_with(framework: Framework, modules: Sequence[Path]) -> Path | None:
    """Return the first of some `node_modules` folders with the runner of a framework, or None."""
    if framework not in ("vitest", "jest"):
        return None
    return next((each for each in modules if (each / ".bin" / framework).exists()), None)


def run_tests(project: Project, folder: Path, all_modules: Sequence[Path] = ()) -> TestRun:
    """Run the tests of a materialized project.

    `all_modules` are `node_modules` folders, of which one may have the runner.
    """
    modules = modules_with(project.framework, all_modules)
    try:
        runner = _RUNNERS[project.framework](modules)
        box = replace(make_sandbox(), limits=LIMITS, readable=runner.readable)
        test_file = Path(project.test_file)
        arguments = [part.format(file=test_file, stem=test_file.stem) for part in runner.command]
        environment = {"PATH": _SYSTEM_PATH, "LANG": "C.UTF-8"} | runner.environment
        shell = ("/bin/sh", "-c", _UNPACK, "sh", *arguments)
        result = box.run_command(Command(shell, packed(folder, modules), environment))
    except (_MissingToolchainError, ConfigurationError) as error:
        return TestRun("not run", detail=str(error))
    output = result.output.decode("utf-8", "replace")
    matches = re.findall(runner.passed, output, re.M)
    num_passed = sum(int(match) if match.isdigit() else 1 for match in matches)
    if result.outcome is Outcome.PASSED and num_passed > 0:
        return TestRun("passed", num_passed)
    if missing := re.search(runner.lacks, output):
        return TestRun("not run", detail=missing[0].strip()[:_MAX_REASON])
    return TestRun("failed", num_passed, f"{result.outcome}\n{output[-_MAX_DETAIL:]}")


def packed(folder: Path, modules: Path | None = None) -> bytes:
    """Return the files of a folder as an archive, with a link `node_modules` to `modules`."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.relative_to(folder).parts[0] == "node_modules":
                continue  # the link below takes its place
            archive.add(path, str(path.relative_to(folder)), recursive=False)
        if modules is not None:
            link = tarfile.TarInfo("node_modules")
            link.type, link.linkname = tarfile.SYMTYPE, str(modules)
            archive.addfile(link)
    return data.getvalue()


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise _MissingToolchainError(f"{name} is not installed")
    return path


def _pytest(_: Path | None) -> Runner:
    options = ("-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis")
    return Runner((sys.executable, *options, "{file}"), r"\b(\d+) passed")


def _unittest(_: Path | None) -> Runner:
    return Runner((sys.executable, "-B", "-m", "unittest", "{file}"), r"^Ran (\d+) test")


def _node(_: Path | None) -> Runner:
    node = _program("node")
    return Runner(
        (node, "--test", "--test-reporter=tap", "{file}"), r"^# pass (\d+)", {}, _of(node)
    )


def _vitest(modules: Path | None) -> Runner:
    return _from_modules(modules, "vitest", "run", r"^\s*Tests .*?(\d+) passed")


def _jest(modules: Path | None) -> Runner:
    return _from_modules(modules, "jest", "--ci", r"^Tests: .*?(\d+) passed")


def _from_modules(modules: Path | None, name: str, option: str, passed: str) -> Runner:
    if modules is None:
        raise _MissingToolchainError(f"{name} is not in a node_modules folder; see --node-modules")
    node = _program("node")
    command = (node, str(modules / ".bin" / name), option, "{file}")
    lacks = r".*Preset \S+ not found.*"
    return Runner(command, passed, {"NO_COLOR": "1"}, (*_of(node), modules), lacks)


def _go(_: Path | None) -> Runner:
    go = os.path.realpath(_program("go"))  # the sandbox does not show the links to it
    environment = {"GOCACHE": f"{PRIVATE_FOLDER}/cache", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    command = (go, "test", "-v", "./...")
    return Runner(command, r"^--- PASS: ", environment, _of(go))


def _cargo(_: Path | None) -> Runner:
    root = _rust_root()
    environment = {
        "PATH": f"{root}/bin:{_SYSTEM_PATH}",
        "CARGO_HOME": f"{PRIVATE_FOLDER}/cargo",
        "CARGO_TERM_COLOR": "never",
    }
    command = (f"{root}/bin/cargo", "test", "--offline", "--quiet")
    # A sandbox without sequenced packet sockets refuses the pair with which cargo starts rustc.
    lacks = r".*Address family not supported by protocol.*"
    return Runner(command, r"^test result: ok\. (\d+) passed", environment, (root,), lacks)


@cache
def _rust_root() -> Path:
    """Return the folder of the toolchain, because the programs in PATH may be those of rustup."""
    command = [_program("rustc"), "--print", "sysroot"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    root = Path(result.stdout.strip())
    if result.returncode or not (root / "bin" / "cargo").exists():
        raise _MissingToolchainError("cargo is not installed")
    return root


def _maven(_: Path | None) -> Runner:
    repository = _readable_repository()
    command = (_program("mvn"), "-o", "-B", f"-Dmaven.repo.local={repository}", "-Dtest={stem}")
    lacks = r".*(?:in offline mode|could not be resolved|has not been downloaded|AccessDenied).*"
    passed = r"^\S*\s*Tests run: (\d+), Failures: 0, Errors: 0, Skipped: 0$"
    # Debian's packages keep files there that the programs cannot start without.
    settings = [*Path("/etc").glob("java-*"), *Path("/etc").glob("maven")]
    return Runner((*command, "test"), passed, {}, (repository, *settings), lacks)


@cache
def _readable_repository() -> Path:
    """Return Maven's local repository, or a copy if only root can read it: no sandbox is root."""
    repository = Path.home() / ".m2" / "repository"
    if not repository.is_dir():
        raise _MissingToolchainError("Maven has no local repository")
    if os.getuid() != 0 or repository.stat().st_mode & stat.S_IXOTH:
        return repository
    folder = Path(tempfile.mkdtemp(prefix="written-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy_linked(repository, folder / "repository")
    for path in (folder, *folder.rglob("*/")):
        path.chmod(0o755)
    return folder / "repository"


def copy_linked(source: Path, target: Path) -> None:
    """Copy a folder. The files are links to the same data, where that is possible."""

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(source, target, symlinks=True, copy_function=link)


def _of(program: str) -> tuple[Path, ...]:
    """Return the folder in which a program is installed with its libraries."""
    return (Path(program).resolve().parent.parent,)


_RUNNERS: dict[Framework, Callable[[Path | None], Runner]] = {
    "pytest": _pytest,
    "unittest": _unittest,
    "node": _node,
    "vitest": _vitest,
    "jest": _jest,
    "go": _go,
    "cargo": _cargo,
    "junit5": _maven,
}

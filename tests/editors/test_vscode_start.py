"""Tests of how the extension finds, starts and installs its server in real VS Code."""

import asyncio
import hashlib
import json
import os
import re
import shlex
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.client import SERVER, scripted
from tests.editors.conftest import ROOT
from tests.editors.vscode import CODE, NODE, VSIX, VSCode, open_at_end, vscode, wait_until_ready
from tests.remote_server import Server, write_tokenizer

pytestmark = pytest.mark.usefixtures("vscode_installed")

DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}
WARNING = '.statusbar-item[id*="starcoder"].warning-kind'
OFF = '.statusbar-item[id*="starcoder"] .codicon-circle-slash'


def test_a_missing_server_is_reported_with_a_button(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, ["/no/such/server"]) as window:
        window.open("a.py")
        toast = window.page.locator(".notification-toast", has_text="could not be started")
        toast.first.wait_for(timeout=60_000)
        assert toast.locator("a.monaco-button", has_text="Open Log").count()


def test_a_server_that_exits_immediately_is_a_warning(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, ["/bin/false"]) as window:
        window.open("a.py")
        window.wait_until(window.page.locator(WARNING).count, "the status bar warns")


def test_a_failed_server_can_be_restarted(tmp_path: Path) -> None:
    program = tmp_path / "server"
    with vscode(tmp_path, {"a.py": CODE}, {}, [str(program)]) as window:
        window.open("a.py")
        window.wait_until(window.page.locator(WARNING).count, "the status bar warns")
        program.write_text(f"#!/bin/sh\nexec {shlex.join(scripted('x'))}\n")
        program.chmod(0o755)
        window.run("StarCoder: Restart the Server")
        wait_until_ready(window)


@contextmanager
def remote_server() -> Iterator[Server]:
    """Run a server of completions, which reports no log-probabilities, in a thread."""
    server, is_started, is_over = Server(), threading.Event(), threading.Event()

    async def serve() -> None:
        await server.start()
        is_started.set()
        await asyncio.to_thread(is_over.wait)
        await server.stop()
        await asyncio.sleep(0)  # its connections close

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert is_started.wait(10)
        yield server
    finally:
        is_over.set()
        thread.join(10)


def test_the_hover_says_what_the_server_at_a_url_does_not_report(tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    with remote_server() as remote:
        remote.text = "12"  # one token may be the one that ends an output, which has none
        settings = {"engineUrl": remote.url, "tokenizer": str(tokenizer), "debounceMs": 0}
        with vscode(tmp_path, {"a.py": CODE}, settings, SERVER) as window:
            open_at_end(window, "a.py")
            wait_until_ready(window, "one")
            assert "log-probabilities" not in window.hover()
            window.type("x = ")
            assert window.wait_for_ghost_text() == "12"
            note = "reports no log-probabilities"
            window.wait_until(lambda: note in window.hover(), "the note is shown")
            window.save_picture("no-log-probabilities")


def test_an_untrusted_workspace_cannot_choose_the_server(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    command = f"touch {marker}; exec {shlex.join(scripted('workspace'))}"
    settings = {"starcoder.serverCommand": ["/bin/sh", "-c", command], "starcoder.enabled": False}
    files = {"a.py": CODE, ".vscode/settings.json": json.dumps(settings)}
    with vscode(tmp_path, files, {}, scripted("total\n"), trusted=False) as window:
        window.open("a.py")
        window.wait_until(lambda: "StarCoder" in window.status, "the extension is active")
        # Settings that cannot run a program apply also without trust.
        window.wait_until(
            lambda: window.page.locator(OFF).count(), "the workspace turns suggestions off"
        )
        assert not marker.exists()
        window.run("Workspaces: Manage Workspace Trust")
        window.page.locator(
            ".workspace-trust-editor a.monaco-button", has_text="Trust"
        ).first.click()
        window.wait_until(marker.exists, "a trusted workspace chooses the server")


def test_git_does_not_run_until_the_workspace_is_trusted(tmp_path: Path) -> None:
    mark, programs = tmp_path / "git-ran", tmp_path / "programs"
    programs.mkdir()
    git = programs / "git"
    git.write_text(f'#!/bin/sh\ncase "$*" in *ls-files*) echo ran >> {mark};; esac\nexit 1\n')
    git.chmod(0o755)
    command = f"PATH={programs}:$PATH; export PATH; exec {shlex.join(scripted('total'))}"
    server = ["/bin/sh", "-c", command]
    # The workspace tries to switch git on.
    files = {
        "a.py": CODE,
        "b.py": CODE,
        ".vscode/settings.json": json.dumps({"starcoder.git": True}),
    }
    with vscode(tmp_path, files, {"relatedFiles": "always"}, server, trusted=False) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window)
        window.type("x = ")
        window.wait_for_ghost_text()
        window.page.wait_for_timeout(1000)
        assert not mark.exists()
        window.run("StarCoder: Write a Commit Message")
        toast = window.page.locator(".notification-toast", has_text="Trust this workspace")
        toast.first.wait_for(timeout=20_000)
        window.run("Workspaces: Manage Workspace Trust")
        window.page.locator(
            ".workspace-trust-editor a.monaco-button", has_text="Trust"
        ).first.click()
        window.page.locator(".workspace-trust-header.workspace-trust-trusted").first.wait_for()
        window.page.locator(".monaco-modal-editor-block .codicon-close").last.click()
        wait_until_ready(window)
        open_at_end(window, "b.py")
        # The server starts again with the trust. A key in this moment gets no suggestion.
        window.wait_until(lambda: has_suggestion_for_new_line(window), "ghost text", 120)
        window.wait_until(mark.exists, "git runs in a trusted workspace")


def has_suggestion_for_new_line(window: VSCode) -> bool:
    window.press("Enter")
    window.type("y = ")
    window.page.wait_for_timeout(5000)
    return bool(window.ghost_text())


def test_the_extension_installs_the_server(tmp_path: Path) -> None:
    """The test uses the real button, a real environment and pip, but a stand-in for our package."""
    packages = tmp_path / "packages"
    wheel = create_stand_in_wheel(packages)
    released = package_for_release(tmp_path / "released.vsix", wheel)
    path = tmp_path / "bin"
    path.mkdir()
    (path / "python3").symlink_to(sys.executable)
    environment = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(packages),
        "PIP_CONFIG_FILE": os.devnull,
        "PATH": f"{path}:{NODE}:/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    with vscode(
        tmp_path, {"a.py": CODE}, {}, [], environment=environment, extension=released
    ) as window:
        window.open("a.py")
        toast = window.page.locator(".notification-toast", has_text="needs its server").first
        toast.wait_for(timeout=60_000)
        window.save_picture("missing")
        assert toast.locator("a.monaco-button", has_text="How to").count()
        assert window.page.locator(WARNING).count()
        toast.locator("a.monaco-button", has_text="Install").click()
        progress = window.page.locator(".notification-toast", has_text="Installing StarCoder").first
        progress.wait_for(timeout=30_000)
        wait_until_ready(window)
        open_at_end(window, "a.py")
        window.type("x = ")
        assert window.wait_for_ghost_text() == "installed + 1"


def create_stand_in_wheel(folder: Path) -> Path:
    """Create a wheel named starcoder-lsp whose command is the server with a scripted engine."""
    folder.mkdir()
    command = scripted("installed + 1\n")
    info = "starcoder_lsp-0.0.1.dist-info"
    files = {
        "stand_in.py": f"import os\n\ndef main():\n    os.execv({command[0]!r}, {command!r})\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: starcoder-lsp\nVersion: 0.0.1\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nstarcoder-lsp = stand_in:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in files)
    file = folder / "starcoder_lsp-0.0.1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return file


def package_for_release(file: Path, wheel: Path) -> Path:
    """Write our extension as a release packages it, pinned to a wheel without dependencies."""
    pin = {"version": "0.0.1", "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}
    with zipfile.ZipFile(VSIX) as packaged, zipfile.ZipFile(file, "w") as released:
        for name in packaged.namelist():
            content = packaged.read(name)
            if name == "extension/dist/server.json":
                content = json.dumps(pin).encode()
            elif name.endswith(".lock"):
                content = b""
            elif name.endswith("needs_cuda.py"):
                content = b"raise SystemExit(1)"
            released.writestr(name, content)
    return file


@pytest.mark.usefixtures("own_engines")
def test_an_extension_packaged_in_a_clone_uses_the_server_of_the_clone(tmp_path: Path) -> None:
    """From `make demo` and the package to ghost text in another folder, without a network."""
    with zipfile.ZipFile(VSIX) as packaged:
        assert json.loads(packaged.read("extension/dist/server.json"))["clone"] == str(ROOT)
    clone, packages, programs = (tmp_path / name for name in ("my [clone]", "empty", "bin"))
    for folder in (packages, programs):
        folder.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    program = clone / ".venv" / "bin" / "starcoder-lsp"
    packaged_there = package_in_clone(tmp_path / "own.vsix", clone)
    environment = {
        "PATH": f"{programs}:{NODE}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "PIP_NO_INDEX": "1",
    }
    with vscode(
        tmp_path, {"a.py": CODE}, DEMO, [], environment=environment, extension=packaged_there
    ) as window:
        window.open("a.py")
        toast = window.page.locator(".notification-toast", has_text="needs its server").first
        toast.wait_for(timeout=60_000)
        assert f'Run "make setup" in {clone}' in toast.inner_text().replace("\u2060", "")
        window.save_picture("clone-without-server")
        window.run("StarCoder: Install the Server")
        failure = window.page.locator(".notification-toast", has_text="could not be installed")
        failure.first.wait_for(timeout=60_000)
        assert str(clone) in failure.first.inner_text()

        # The walkthrough does not claim that this step is done.
        window.run("Welcome: Open Walkthrough...")
        window.choose("Start with StarCoder")
        window.page.locator(".gettingStartedContainer .step-title").first.wait_for()
        assert steps_done(window) == []
        window.save_picture("walkthrough-nothing-done")

        write_program(program, SERVER)
        window.run("StarCoder: Restart the Server")
        wait_until_ready(window, "demo model")
        window.wait_until(lambda: steps_done(window) == ["Install the server"], "a step is done")
        open_at_end(window, "a.py")
        window.type("def mean(numbers):\nreturn sum(")
        window.wait_for_ghost_text()
        window.save_picture("clone")


def test_the_user_chooses_the_program_of_the_server(tmp_path: Path) -> None:
    program, other = tmp_path / "own programs" / "starcoder-lsp", tmp_path / "other"
    write_program(program, scripted("total + 1\n"))
    write_program(other, ["/bin/echo", "something else"])
    extension = package_in_clone(tmp_path / "own.vsix", tmp_path / "nowhere")
    environment = {"PATH": f"{NODE}:/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    with vscode(
        tmp_path, {"a.py": CODE}, {}, [], environment=environment, extension=extension
    ) as window:
        window.open("a.py")
        window.wait_until(window.page.locator(WARNING).count, "the status bar warns")

        def choose(file: Path) -> None:
            window.run("StarCoder: Menu")
            item = window.page.locator(".quick-input-list .monaco-list-row", has_text="Install")
            item.first.wait_for()
            window.save_picture("menu-without-server")
            window.choose("Choose the server's program")
            box = window.page.locator(".quick-input-widget input").first
            window.wait_until(lambda: box.input_value().startswith("/"), "the file dialog")
            # The dialog writes its folder into the box when it has read it.
            entry = window.page.locator(".quick-input-list .monaco-list-row", has_text="a.py")
            entry.first.wait_for()
            box.fill(str(file))
            window.page.wait_for_timeout(500)
            window.press("Enter")

        choose(other)
        rejected = window.page.locator(".notification-toast", has_text="is not the program")
        rejected.first.wait_for(timeout=60_000)
        choose(program)
        wait_until_ready(window)
        open_at_end(window, "a.py")
        window.type("x = ")
        assert window.wait_for_ghost_text() == "total + 1"


def steps_done(window: VSCode) -> list[str]:
    """Return the titles of the steps of the walkthrough that are done."""
    steps = window.page.locator(".gettingStartedContainer .getting-started-step")
    done = steps.filter(has=window.page.locator(".codicon-getting-started-step-checked"))
    return done.locator(".step-title").all_inner_texts()


def write_program(file: Path, command: list[str]) -> None:
    """Write a script that runs a command, but answers `--version` as the server does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    version = (
        "" if command[0] == "/bin/echo" else '[ "$1" = --version ] && exec echo starcoder-lsp 1\n'
    )
    file.write_text(f"#!/bin/sh\n{version}exec {shlex.join(command)}\n")
    file.chmod(0o755)


def package_in_clone(file: Path, clone: Path) -> Path:
    """Write our extension as it is packaged in another clone."""
    with zipfile.ZipFile(VSIX) as packaged, zipfile.ZipFile(file, "w") as own:
        for name in packaged.namelist():
            content = packaged.read(name)
            if name == "extension/dist/server.json":
                content = json.dumps({"version": "0.0.1", "clone": str(clone)}).encode()
            own.writestr(name, content)
    return file


def test_the_walkthrough_has_all_steps(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted("x")) as window:
        window.open("a.py")
        wait_until_ready(window)
        window.run("Welcome: Open Walkthrough...")
        window.choose("Start with StarCoder")
        page = window.page.locator(".gettingStartedContainer")
        for step in ("Install the server", "Type", "Choose a model", "Ask"):
            title = page.locator(".step-title", has_text=re.compile(f"^{step}$"))
            window.wait_until(title.count, f"the step {step!r}")
        window.save_picture("walkthrough")

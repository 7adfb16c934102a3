"""How the extension finds its server in real VS Code, and what it says where there is none."""

import json
import os
import re
import shlex
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.client import scripted
from tests.editors.vscode import CODE, NODE, end_of, ready, vscode

pytestmark = pytest.mark.usefixtures("vscode_installed")

WARNS = '.statusbar-item[id*="starcoder"].warning-kind'
OFF = '.statusbar-item[id*="starcoder"] .codicon-circle-slash'


def test_a_server_that_is_missing_is_told_with_a_button(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, ["/no/such/server"]) as window:
        window.open("a.py")
        toast = window.page.locator(".notification-toast", has_text="could not be started")
        toast.first.wait_for(timeout=60_000)
        assert toast.locator("a.monaco-button", has_text="Open Log").count()


def test_a_server_that_ends_at_once_is_no_spinner(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, ["/bin/false"]) as window:
        window.open("a.py")
        window.until(window.page.locator(WARNS).count, "the status bar warns")


def test_a_server_that_failed_is_started_anew(tmp_path: Path) -> None:
    program = tmp_path / "server"
    with vscode(tmp_path, {"a.py": CODE}, {}, [str(program)]) as window:
        window.open("a.py")
        window.until(window.page.locator(WARNS).count, "the status bar warns")
        program.write_text(f"#!/bin/sh\nexec {shlex.join(scripted('x'))}\n")
        program.chmod(0o755)
        window.run("StarCoder: Restart the Server")
        ready(window)


def test_an_untrusted_workspace_starts_no_server_of_its_own(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    command = f"touch {marker}; exec {shlex.join(scripted('mine'))}"
    own = {"starcoder.serverCommand": ["/bin/sh", "-c", command], "starcoder.enabled": False}
    files = {"a.py": CODE, ".vscode/settings.json": json.dumps(own)}
    with vscode(tmp_path, files, {}, scripted("total\n"), trusting=False) as window:
        window.open("a.py")
        window.until(lambda: "StarCoder" in window.status, "the extension is there")
        # Its other settings are as good as anybody's.
        window.until(lambda: window.page.locator(OFF).count(), "it is off, as the workspace says")
        assert not marker.exists()
        window.run("Workspaces: Manage Workspace Trust")
        window.page.locator(
            ".workspace-trust-editor a.monaco-button", has_text="Trust"
        ).first.click()
        window.until(marker.exists, "a workspace that is trusted chooses the server")


def test_a_server_that_is_not_there_is_installed(tmp_path: Path) -> None:
    """The real button, a real environment, the real pip, with a package that stands in for ours."""
    packages = tmp_path / "packages"
    stand_in(packages)
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
    with vscode(tmp_path, {"a.py": CODE}, {}, [], environment=environment) as window:
        window.open("a.py")
        toast = window.page.locator(".notification-toast", has_text="needs its server").first
        toast.wait_for(timeout=60_000)
        window.picture("missing")
        assert toast.locator("a.monaco-button", has_text="How to").count()
        assert window.page.locator(WARNS).count()
        toast.locator("a.monaco-button", has_text="Install").click()
        progress = window.page.locator(".notification-toast", has_text="Installing StarCoder").first
        progress.wait_for(timeout=30_000)
        ready(window)
        end_of(window, "a.py")
        window.type("x = ")
        assert window.shown() == "installed + 1"


def stand_in(folder: Path) -> None:
    """Make a wheel called starcoder-lsp: its command is the real server with a scripted engine."""
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
    with zipfile.ZipFile(folder / "starcoder_lsp-0.0.1-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


def test_the_walkthrough(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted("x")) as window:
        window.open("a.py")
        ready(window)
        window.run("Welcome: Open Walkthrough...")
        window.choose("Start with StarCoder")
        page = window.page.locator(".gettingStartedContainer")
        for step in ("Install the server", "Type", "Choose a model", "Ask"):
            found = page.locator(".step-title", has_text=re.compile(f"^{step}$"))
            window.until(found.count, f"the step {step!r}")
        window.picture("walkthrough")

"""Runs a real VS Code (code-server) with our packaged extension in a real browser."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from playwright.sync_api import Error as PageError
from playwright.sync_api import Frame, FrameLocator, Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeoutError

from tests.editors.conftest import CHROMIUM, INSTALLED, PICTURES, ROOT, VSIX

NODE = INSTALLED / "node/node_modules/.bin"

CODE = "def add(a, b):\n    return a + b\n"
"""The file that most tests open."""

USER_SETTINGS = {
    "files.hotExit": "off",
    "files.autoSave": "off",
    "workbench.startupEditor": "none",
    "telemetry.telemetryLevel": "off",
    "chat.disableAIFeatures": True,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.wordBasedSuggestions": "off",
    "workbench.colorTheme": "Default Light Modern",
    "security.workspace.trust.startupPrompt": "never",
    "security.workspace.trust.banner": "never",
}

EDITOR_LINES = """() => [
  ...document.querySelectorAll('.monaco-editor[data-uri] .view-lines .view-line')
]
  .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
  .map(line => [...line.querySelectorAll('span > span')]
    .filter(span => !/ghost-text/.test(span.className))
    .map(span => span.textContent).join('').replace(/\\u00a0/g, ' '))"""


class VSCode:
    """A window of VS Code."""

    def __init__(self, page: Page, workspace: Path) -> None:
        self.page, self.workspace = page, workspace

    def wait_until(
        self, condition: Callable[[], Any], description: str, seconds: float = 60.0
    ) -> Any:
        """Wait until a condition holds and return its value.

        While VS Code replaces a frame or writes a file, a condition that reads it can fail. It
        does not hold yet then.
        """
        deadline = time.monotonic() + seconds
        error: Exception | None = None
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
                error = None
            except (PageError, json.JSONDecodeError) as failure:
                error = failure
            self.page.wait_for_timeout(100)
        self.save_picture("failed")
        raise AssertionError(
            f"{description}: not within {seconds} s; the status is {self.status!r}, "
            f"the lines are {self.lines()}"
        ) from error

    def open(self, name: str) -> None:
        entry = self.page.locator(f'.explorer-folders-view [aria-label^="{name}"]')
        entry.dblclick(timeout=60_000)
        self.page.locator(".monaco-editor .view-lines").first.click()

    def lines(self) -> list[str]:
        return list(self.page.evaluate(EDITOR_LINES))

    def diff(self) -> list[str]:
        """Return the lines on the right side of a diff."""
        lines = self.page.locator(".monaco-diff-editor .modified .view-line").all_inner_texts()
        return [line.replace("\xa0", " ") for line in lines]

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def type(self, text: str, delay: float = 40) -> None:
        self.page.keyboard.type(text, delay=delay)

    def run(self, command: str) -> None:
        """Run a command by its title in the palette.

        A view that has just opened may take the focus, which closes the palette. A click on the
        row either runs the command or fails, while Enter would go to that view.
        """
        box = self.page.locator(".quick-input-widget input").first
        row = self.page.locator(".quick-input-list .monaco-list-row.focused", has_text=command)
        for is_last in (False, False, True):
            self.press("F1")
            try:
                box.fill(f">{command}", timeout=30_000 if is_last else 5_000)
                row.first.click(timeout=30_000 if is_last else 10_000)
                return
            except PageTimeoutError:
                if is_last:
                    raise

    def choose(self, label: str) -> None:
        """Choose an item of the open list."""
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text=label).first
        row.click(timeout=20_000)

    def ghost_text(self) -> str:
        """Return the visible ghost text, empty if there is none."""
        parts = self.page.locator(".ghost-text-decoration, .ghost-text").all_inner_texts()
        return "".join(parts).replace("\xa0", " ")

    def wait_for_ghost_text(self) -> str:
        return str(self.wait_until(self.ghost_text, "ghost text"))

    @property
    def status(self) -> str:
        item = self.page.locator('.statusbar-item[id*="starcoder"]').first
        return item.inner_text() if item.count() else ""

    @property
    def chat(self) -> FrameLocator:
        outer = self.page.frame_locator("iframe.webview.ready")
        return outer.frame_locator("iframe#active-frame")

    def open_chat(self) -> Locator:
        self.page.locator('.activitybar [aria-label^="StarCoder"]').first.click()
        box = self.chat.locator("#input")
        box.wait_for(timeout=90_000)
        return box

    def chat_frame(self) -> Frame:
        """Return the frame of the chat, in which scripts can run."""
        outer = self.page.frame_locator("iframe.webview.ready")
        inner = outer.locator("iframe#active-frame").element_handle(timeout=60_000)
        return cast(Frame, inner.content_frame())

    def set(self, **settings: Any) -> None:
        """Change user settings, as the settings editor does."""
        file = self.workspace.parent / "data" / "User" / "settings.json"
        present = self.wait_until(lambda: json.loads(file.read_text()), "the settings are written")
        changed = {**present, **settings}
        file.write_text(json.dumps(changed), encoding="utf-8")

    def hover(self) -> str:
        """Return the text that the status bar item shows on hover."""
        self.page.mouse.move(600, 300)
        self.page.locator('.statusbar-item[id*="starcoder"]').first.hover()
        box = self.page.locator(".monaco-hover:visible").first
        box.wait_for()
        return box.inner_text()

    def save_picture(self, name: str) -> Path:
        """Save a screenshot."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        file = PICTURES / f"vscode-{name}.png"
        self.page.screenshot(path=file)
        return file


def wait_until_ready(window: VSCode, model: str = "scripted") -> None:
    window.wait_until(lambda: model in window.status, "the server is ready", 120)


def open_at_end(window: VSCode, name: str) -> None:
    window.open(name)
    window.press("Control+End")


def go_to_end(window: VSCode) -> None:
    window.page.locator(".monaco-editor .view-lines").first.click()
    window.press("Control+End")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def vscode(
    folder: Path,
    files: dict[str, str],
    settings: dict[str, Any],
    server: list[str],
    *,
    trusted: bool = True,
    environment: dict[str, str] | None = None,
    extension: Path = VSIX,
    more_extensions: Sequence[Path] = (),
    workspace_name: str = "workspace",
) -> Iterator[VSCode]:
    """Run VS Code with fresh data and our packaged extension until the `with` block ends.

    `trusted` makes it trust every workspace. Generated tests are not run unless the settings say
    so.
    """
    workspace, data = folder / workspace_name, folder / "data"
    for name, text in files.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(text, encoding="utf-8")
    settings = {"runTests": "never", **settings}
    own_settings = {f"starcoder.{key}": value for key, value in settings.items()}
    for kind, values in (
        ("User", USER_SETTINGS | own_settings),
        ("Machine", {"starcoder.serverCommand": server}),
    ):
        (data / kind).mkdir(parents=True)
        (data / kind / "settings.json").write_text(json.dumps(values), encoding="utf-8")
    port = _free_port()
    config = folder / "config.yaml"
    config.write_text(f"bind-addr: 127.0.0.1:{port}\nauth: none\ncert: false\n")
    process_environment = {
        **os.environ,
        "PATH": f"{NODE}:{os.environ['PATH']}",
        "EXTENSIONS_GALLERY": "{}",
        "PYTHONPATH": str(ROOT),
        **(environment or {}),
    }
    command = [
        str(INSTALLED / "code-server/node_modules/.bin/code-server"),
        "--config",
        str(config),
        "--user-data-dir",
        str(data),
        "--extensions-dir",
        str(folder / "extensions"),
        "--disable-telemetry",
        "--disable-update-check",
        "--disable-getting-started-override",
        *(["--disable-workspace-trust"] if trusted else []),
    ]
    for file in (extension, *more_extensions):
        install = [*command, "--install-extension", str(file)]
        subprocess.run(
            install, env=process_environment, check=True, capture_output=True, timeout=120
        )
    with (folder / "code-server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(workspace)],
            env=process_environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/healthz")
            with sync_playwright() as browsers:
                browser = browsers.chromium.launch(
                    executable_path=CHROMIUM,
                    args=[
                        "--no-sandbox",
                        "--disable-gpu",
                        "--no-first-run",
                        "--disable-sync",
                        "--disable-background-networking",
                        "--disable-component-update",
                    ],
                )
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.context.grant_permissions(["clipboard-read", "clipboard-write"])
                page.goto(f"http://127.0.0.1:{port}/?folder={quote(str(workspace))}")
                yield VSCode(page, workspace)
                browser.close()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(url: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {seconds} s")

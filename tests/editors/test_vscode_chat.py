"""Tests of the chat in real VS Code: streaming, faults, keyboard use, accessibility in themes."""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator

from benchmarks.written_tests.environment import make_environment
from tests.e2e.client import SERVER, scripted
from tests.editors.vscode import CODE, VSCode, go_to_end, open_at_end, vscode, wait_until_ready

pytestmark = pytest.mark.usefixtures("vscode_installed")

THEMES = ("Default Dark Modern", "Default Light Modern", "Default High Contrast")
AXE = Path(__file__).parents[2] / "editors/vscode/node_modules/axe-core/axe.min.js"
DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}


def test_the_chat_streams_an_answer_about_the_selection(tmp_path: Path) -> None:
    answer = "It *adds*.\n\n```python\nadd(1, 2)\n```\n<img src=x onerror=alert(1)> Done."
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted(answer, 0.02)) as window:
        window.open("a.py")
        wait_until_ready(window)
        window.press("Control+a")
        window.run("StarCoder: Ask About the Selection")
        box = window.chat.locator("#input")
        box.wait_for()
        chip = window.chat.locator("#chips .chip")
        window.wait_until(chip.count, "a chip")
        assert "a.py:1-2" in chip.inner_text()
        assert "tokens" in chip.inner_text()
        box.fill("What is this?")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.wait_until(
            lambda: body.count() and "It adds" in body.inner_text(), "the answer starts"
        )
        assert "Done." not in body.inner_text()  # the answer is streamed
        assert window.chat.locator("#stop").is_visible()
        window.wait_until(lambda: "Done." in body.inner_text(), "the answer ends")
        window.wait_until(
            lambda: window.chat.locator("#send").is_visible(), "a message can be sent again"
        )
        assert window.chat.locator(".assistant em").inner_text() == "adds"
        assert window.chat.locator(".assistant img").count() == 0
        assert window.chat.locator("pre .hljs-number").count() == 2
        assert "a.py:1-2" in window.chat.locator(".user .chip").inner_text()
        window.save_picture("chat")

        go_to_end(window)
        window.chat.locator(".code-bar button", has_text="Insert").click()
        window.wait_until(lambda: "add(1, 2)" in window.lines(), "the code is in the file")

        window.page.reload()
        window.open_chat()
        answer_body = window.chat.locator(".assistant .body")
        window.wait_until(
            lambda: answer_body.count() and "Done." in answer_body.inner_text(),
            "the chat is restored",
        )
        window.chat.locator("#history").click()
        window.wait_until(
            lambda: "What is this?" in window.chat.locator("#past").inner_text(), "history"
        )


def test_an_answer_can_be_stopped_and_retried(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted("abcdefgh " * 60, 0.02)) as window:
        open_at_end(window, "a.py")
        window.press("ArrowUp")
        wait_until_ready(window)
        box = window.open_chat()
        box.fill("/explain")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.wait_until(lambda: body.count() and "abc" in body.inner_text(), "the answer starts")
        window.chat.locator("#stop").click()
        ending = window.chat.locator(".ending")
        window.wait_until(
            lambda: ending.count() and "stopped" in ending.inner_text(), "it is stopped"
        )
        window.chat.locator("#retry").click()
        window.wait_until(lambda: window.chat.locator("#stop").is_visible(), "it answers again")
        assert window.chat.locator(".user").count() == 1


def test_the_chat_can_be_used_with_the_keyboard_only(tmp_path: Path) -> None:
    answer = "It adds.\n\n```python\nadd(1, 2)\n```\nDone."
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted(answer)) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window)
        window.run("StarCoder: Ask About the Selection")
        page = window.chat_frame()
        focused = "document.activeElement.id || document.activeElement.textContent"
        window.wait_until(lambda: page.evaluate(focused) == "input", "the input has the focus")
        window.type("What is this?")
        window.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.wait_until(lambda: body.count() and "Done." in body.inner_text(), "the answer")
        window.wait_until(
            lambda: window.chat.locator("#send").is_visible(), "the answer is complete"
        )
        for button in ("Insert", "Copy"):
            press_until(window, "Shift+Tab", lambda b=button: page.evaluate(focused) == b)
            window.press("Enter")
            if button == "Insert":
                window.wait_until(lambda: "add(1, 2)" in window.lines(), "the code is in the file")
                window.run("StarCoder: Ask About the Selection")
                window.wait_until(
                    lambda: page.evaluate(focused) == "input", "the input has the focus again"
                )
        read = "navigator.clipboard.readText()"
        window.wait_until(lambda: window.page.evaluate(read) == "add(1, 2)\n", "the code is copied")


def test_an_at_sign_attaches_a_file(tmp_path: Path) -> None:
    files = {"a.py": CODE, "other.py": "ANSWER = 42\n"}
    with vscode(tmp_path, files, {}, scripted("Yes.")) as window:
        window.open("a.py")
        wait_until_ready(window)
        box = window.open_chat()
        box.focus()
        window.type("me@home, see @")
        window.choose("other.py")
        chip = window.chat.locator("#chips .chip")
        window.wait_until(chip.count, "a chip")
        assert "other.py" in chip.inner_text()
        window.wait_until(
            lambda: box.input_value() == "me@home, see @other.py ", "the word is in the text"
        )
        window.type("@")
        window.page.locator(".quick-input-widget input").first.wait_for()
        window.press("Escape")
        window.wait_until(
            lambda: box.input_value() == "me@home, see @other.py @", "the sign is inserted"
        )
        chip.click()
        window.wait_until(lambda: not chip.count(), "it is removed")
        assert box.input_value() == "me@home, see other.py @"
        box.fill("see @other.py and @nothing.py")
        window.wait_until(chip.count, "a pasted word attaches the file")
        box.press("Enter")
        sent = window.chat.locator(".user")
        window.wait_until(lambda: sent.count() and "other.py" in sent.inner_text(), "it is sent")
        assert sent.locator(".body").inner_text() == "see @other.py and @nothing.py"
        assert sent.locator(".chip").all_inner_texts() == ["other.py"]


def press_until(window: VSCode, key: str, condition: Callable[[], bool]) -> None:
    for _ in range(40):
        if condition():
            return
        window.press(key)
        window.page.wait_for_timeout(50)
    window.save_picture("failed")
    raise AssertionError(f"pressing {key} repeatedly does not reach the expected state")


class Faults:
    """A server whose engine answers and fails as a test says."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "control.json"
        self.set()

    def set(self, **control: Any) -> None:
        # The server reads the file at any time, so it must never be a part of the text.
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(control))
        new.replace(self._file)

    @property
    def server(self) -> list[str]:
        return [sys.executable, "-P", "-m", "tests.editors.chat_server", str(self._file)]

    def kill_server(self) -> None:
        os.kill(int(self._file.with_suffix(".pid").read_text()), signal.SIGKILL)


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path)


@pytest.fixture(autouse=True)
def own_chats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARCODER_LSP_CHATS", str(tmp_path / "chats.sqlite3"))


def ask(window: VSCode, text: str) -> None:
    box = window.chat.locator("#input")
    box.fill(text)
    box.press("Enter")


def wait_for_text(window: VSCode, locator: Locator, text: str) -> None:
    window.wait_until(lambda: text in " ".join(locator.all_inner_texts()), f"{text!r} is shown")


def wait_for_idle(window: VSCode) -> None:
    window.wait_until(window.chat.locator("#send").is_visible, "no answer runs")


def test_nothing_typed_is_lost_while_the_server_is_down(tmp_path: Path, faults: Faults) -> None:
    marker = tmp_path / "may-start"
    command = ["sh", "-c", 'test -e "$0" && exec "$@"', str(marker), *faults.server]
    with vscode(tmp_path, {"a.py": CODE}, {}, command) as window:
        window.open("a.py")
        box = window.open_chat()
        notice = window.chat.locator("#server")
        window.wait_until(notice.is_visible, "the chat says that there is no server")
        box.fill("Is it there?")
        window.chat.locator("#selection").click()
        window.wait_until(window.chat.locator("#chips .chip").count, "a chip without a size")
        box.press("Enter")
        wait_for_text(window, window.chat.locator("#note"), "not running")
        assert box.input_value() == "Is it there?"
        assert window.chat.locator("#chips .chip").inner_text() == "a.py ✕"
        window.save_picture("chat-no-server")
        marker.touch()
        window.chat.locator("#start").click()
        window.wait_until(lambda: not notice.is_visible(), "the chat notices that it started")
        wait_for_text(window, window.chat.locator("#chips .chip"), "tokens")
        box.press("Enter")
        wait_for_text(window, window.chat.locator(".assistant"), "Fine.")
        wait_for_text(window, window.chat.locator("#model"), "scripted, not trained on dialogues")

        # The server is killed during an answer, and VS Code starts it again.
        faults.set(answer="abcdefgh " * 60, delay=0.02)
        ask(window, "And then?")
        wait_for_text(window, window.chat.locator(".streaming"), "abc")
        faults.kill_server()
        wait_for_text(window, window.chat.locator(".turn").last, "And then?")
        wait_for_idle(window)
        assert box.input_value() == ""
        faults.set(answer="It goes on.")
        wait_for_text(window, window.chat.locator("#model"), "scripted")
        window.wait_until(window.chat.locator("#retry").is_enabled, "it can be retried")
        window.chat.locator("#retry").click()
        wait_for_text(window, window.chat.locator(".assistant").last, "It goes on.")
        assert window.chat.locator(".user").count() == 2


def test_a_message_survives_every_fault_of_the_engine(tmp_path: Path, faults: Faults) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, faults.server) as window:
        open_at_end(window, "a.py")
        wait_until_ready(window)
        box = window.open_chat()
        ending = window.chat.locator(".ending")
        note = window.chat.locator("#note")

        faults.set(fault="down")
        ask(window, "Is it there?")
        wait_for_text(window, ending, "(not answered)")
        wait_for_text(window, note, "no memory is free")
        window.save_picture("chat-not-answered")
        window.page.reload()
        box = window.open_chat()
        wait_for_text(window, ending, "(not answered)")

        faults.set(fault="slow")
        ending.locator("button", has_text="Retry").click()
        window.wait_until(window.chat.locator(".streaming").count, "the progress is shown")
        window.chat.locator("#stop").click()
        wait_for_idle(window)
        wait_for_text(window, note, "Stopped before the first word.")

        faults.set(fault="lost", answer="abcdefghijklmnop", delay=0.02)
        window.chat.locator("#retry").click()
        wait_for_text(window, ending, "(interrupted by an error)")
        wait_for_text(window, note, "The engine ended.")
        assert "abcdefgh" in window.chat.locator(".assistant .body").inner_text()
        faults.set(answer="XYZ")
        ending.locator("button", has_text="Continue").click()
        wait_for_text(window, window.chat.locator(".assistant .body"), "ghiXYZ")
        window.wait_until(lambda: ending.count() == 0, "the answer is complete")

        faults.set(answer="One, two, three.", limit=5)
        ask(window, "Count.")
        wait_for_text(window, ending, "(cut off")
        window.save_picture("chat-cut-off")

        ask(window, "/test this")
        wait_for_text(window, note, "Did you mean /tests?")
        assert box.input_value() == "/test this"
        assert window.chat.locator(".user").count() == 2
        faults.set()
        go_to_end(window)
        window.press("ArrowUp")
        box.fill("/explain")
        wait_for_text(window, window.chat.locator("#chips .chip"), "a.py:1-2")
        wait_for_text(window, window.chat.locator("#chips .chip"), "at the cursor")
        window.save_picture("chat-at-the-cursor")
        box.press("Enter")
        wait_for_text(window, window.chat.locator(".user").last, "a.py:1-2")
        wait_for_text(window, window.chat.locator(".assistant").last, "Fine.")


def test_conversations_are_found_renamed_and_never_mixed(tmp_path: Path, faults: Faults) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, faults.server) as window:
        window.open("a.py")
        wait_until_ready(window)
        box = window.open_chat()
        chat = window.chat
        ask(window, "What is red?")
        wait_for_text(window, chat.locator(".assistant"), "Fine.")
        wait_for_idle(window)
        chat.locator("#new").click()
        window.wait_until(lambda: chat.locator(".turn").count() == 0, "a new conversation")
        faults.set(answer="abcdefgh " * 200, delay=0.2, model="org/other-model")
        ask(window, "What is blue?")
        wait_for_text(window, chat.locator(".streaming"), "abc")

        # Another conversation is opened, and this one is answered in the background.
        rows = chat.locator("#list .row")
        chat.locator("#history").click()
        window.wait_until(lambda: rows.count() == 2, "both conversations")
        assert "now" in rows.first.inner_text()
        rows.nth(1).locator("button").first.click()
        wait_for_text(window, chat.locator(".user"), "red")
        wait_for_idle(window)
        assert chat.locator(".assistant").count() == 1
        faults.set(delay=0.2, model="org/other-model")
        ask(window, "And rose?")
        wait_for_text(window, chat.locator(".model-change"), "changed to other-model")
        wait_for_text(window, chat.locator("#model"), "other-model")
        wait_for_idle(window)
        assert chat.locator(".assistant .body").all_inner_texts() == ["Fine."] * 2
        window.save_picture("chat-model-changed")

        # ArrowUp recalls questions.
        box.press("ArrowUp")
        assert box.input_value() == "And rose?"
        box.press("ArrowUp")
        assert box.input_value() == "What is red?"
        box.press("ArrowDown")
        box.press("ArrowDown")
        assert box.input_value() == ""

        # Search and rename with the keyboard only.
        chat.locator("#history").focus()
        window.press("Enter")
        window.wait_until(lambda: rows.count() == 2, "both conversations")
        window.type("ROSE")
        window.wait_until(lambda: rows.count() == 1, "one conversation is found")
        window.press("ArrowDown")
        window.press("Tab")
        window.press("Enter")
        window.press("Control+a")
        window.type("Colours")
        window.press("Enter")
        wait_for_text(window, rows, "Colours")
        window.press("Escape")
        assert not chat.locator("#past").is_visible()

        # The conversation that is being answered is deleted.
        chat.locator("#history").click()
        window.wait_until(lambda: rows.count() == 2, "both conversations")
        window.save_picture("chat-history")
        row = rows.filter(has_text="blue")
        row.locator("button").first.click()
        wait_for_text(window, chat.locator(".streaming"), "abc")
        assert chat.locator("#stop").is_visible()
        chat.locator("#history").click()
        row.locator("button", has_text="✕").click()
        window.wait_until(lambda: rows.count() == 1, "it is deleted")
        wait_for_idle(window)
        assert chat.locator(".turn").count() == 0
        assert chat.locator("#note").inner_text() == ""


@pytest.mark.parametrize("theme", THEMES)
def test_the_chat_is_accessible(theme: str, tmp_path: Path) -> None:
    answer = "# It *adds*\n\n[a](https://a.org) `b`\n\n```python\nadd(1, 'b')  # c\n```\nOK."
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted(answer)) as window:
        window.set(**{"workbench.colorTheme": theme})
        open_at_end(window, "a.py")
        wait_until_ready(window)
        window.run("StarCoder: Ask About the Selection")
        chat = window.chat
        window.wait_until(chat.locator("#chips .chip").count, "a chip")
        chat.locator("#input").fill("What is this?")
        chat.locator("#input").press("Enter")
        body = chat.locator(".assistant .body").last
        window.wait_until(lambda: body.count() and "OK." in body.inner_text(), "the answer")
        window.wait_until(lambda: chat.locator("#send").is_visible(), "the answer is complete")
        chat.locator("#history").click()
        window.wait_until(chat.locator("#past button").count, "earlier conversations")
        window.run("StarCoder: Ask About the Selection")
        window.wait_until(chat.locator("#chips .chip").count, "a chip again")
        page = window.chat_frame()
        page.evaluate(AXE.read_text())
        report = page.evaluate("axe.run()")
        window.save_picture(f"chat-{theme.lower().replace(' ', '-')}")
        assert len(report["passes"]) > 15
        violations = {
            violation["id"]: [node["html"] for node in violation["nodes"]]
            for violation in report["violations"]
        }
        assert violations == {}


@pytest.mark.usefixtures("own_engines")
@pytest.mark.usefixtures("isolated")
def test_the_demo_model_chats_and_writes_a_test(tmp_path: Path) -> None:
    code = "def is_even(n):\n    return n % 2 == 0\n"
    (tmp_path / "workspace").mkdir()
    make_environment(tmp_path / "workspace" / ".venv")
    for path in (tmp_path / "workspace", *tmp_path.parents[:2], tmp_path):
        path.chmod(0o755)  # if the tests run as root, the program of a sandbox is another user
    settings = {**DEMO, "runTests": "always"}
    with vscode(tmp_path, {"parity.py": code}, settings, SERVER) as window:
        window.open("parity.py")
        wait_until_ready(window, "demo model")
        window.press("Control+a")
        window.run("StarCoder: Ask About the Selection")
        box = window.chat.locator("#input")
        box.wait_for()
        box.fill("/explain")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.wait_until(lambda: body.count() and body.inner_text().strip(), "the answer")
        window.wait_until(
            lambda: window.chat.locator("#send").is_visible(), "the answer is complete"
        )
        window.save_picture("demo-chat")
        go_to_end(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        toast = window.page.locator(
            ".notification-toast", has_text=re.compile("pass.*is_even", re.S)
        )
        toast.first.wait_for(timeout=90_000)
        window.wait_until(
            lambda: any("current behaviour" in line for line in window.diff()), "the observed value"
        )
        window.save_picture("demo-tests")

"""Tests of the chat in real VS Code: streaming, keyboard use, accessibility in every theme."""

from collections.abc import Callable
from pathlib import Path

import pytest

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
        window.open("a.py")
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
        assert box.input_value() == "me@home, see "
        window.type("@")
        window.page.locator(".quick-input-widget input").first.wait_for()
        window.press("Escape")
        window.wait_until(lambda: box.input_value() == "me@home, see @", "the sign is inserted")
        chip.click()
        window.wait_until(lambda: not chip.count(), "it is removed")


def press_until(window: VSCode, key: str, condition: Callable[[], bool]) -> None:
    for _ in range(40):
        if condition():
            return
        window.press(key)
        window.page.wait_for_timeout(50)
    window.save_picture("failed")
    raise AssertionError(f"pressing {key} repeatedly does not reach the expected state")


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
def test_the_demo_model_chats_and_writes_a_test(tmp_path: Path) -> None:
    code = "def is_even(n):\n    return n % 2 == 0\n"
    with vscode(tmp_path, {"numbers.py": code}, DEMO, SERVER) as window:
        window.open("numbers.py")
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
        toast = window.page.locator(".notification-toast", has_text="is_even")
        toast.first.wait_for(timeout=90_000)
        window.save_picture("demo-tests")

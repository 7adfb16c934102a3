"""The chat in real VS Code: streamed, by the keyboard, in every theme."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.client import SERVER, scripted
from tests.editors.vscode import CODE, VSCode, end_of, end_of_file, ready, vscode

pytestmark = pytest.mark.usefixtures("vscode_installed")

THEMES = ("Default Dark Modern", "Default Light Modern", "Default High Contrast")
AXE = Path(__file__).parents[2] / "editors/vscode/node_modules/axe-core/axe.min.js"
DEMO = {"model": "demo", "eagerness": "eager", "statistics": False}


def test_the_chat_streams_about_the_selection(tmp_path: Path) -> None:
    answer = "It *adds*.\n\n```python\nadd(1, 2)\n```\n<img src=x onerror=alert(1)> Done."
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted(answer, 0.02)) as window:
        window.open("a.py")
        ready(window)
        window.press("Control+a")
        window.run("StarCoder: Ask About the Selection")
        box = window.chat.locator("#input")
        box.wait_for()
        chip = window.chat.locator("#chips .chip")
        window.until(chip.count, "a chip")
        assert "a.py:1-2" in chip.inner_text()
        assert "tokens" in chip.inner_text()
        box.fill("What is this?")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.until(lambda: body.count() and "It adds" in body.inner_text(), "it begins")
        assert "Done." not in body.inner_text()  # it came in pieces
        assert window.chat.locator("#stop").is_visible()
        window.until(lambda: "Done." in body.inner_text(), "it ends")
        window.until(lambda: window.chat.locator("#send").is_visible(), "one may ask again")
        assert window.chat.locator(".assistant em").inner_text() == "adds"
        assert window.chat.locator(".assistant img").count() == 0
        assert window.chat.locator("pre .hljs-number").count() == 2
        assert "a.py:1-2" in window.chat.locator(".user .chip").inner_text()
        window.picture("chat")

        end_of_file(window)
        window.chat.locator(".code-bar button", has_text="Insert").click()
        window.until(lambda: "add(1, 2)" in window.lines(), "the code is in the file")

        window.page.reload()
        window.open_chat()
        kept = window.chat.locator(".assistant .body")
        window.until(lambda: kept.count() and "Done." in kept.inner_text(), "it survives a reload")
        window.chat.locator("#history").click()
        window.until(
            lambda: "What is this?" in window.chat.locator("#past").inner_text(), "history"
        )


def test_an_answer_is_stopped_and_asked_again(tmp_path: Path) -> None:
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted("abcdefgh " * 60, 0.02)) as window:
        window.open("a.py")
        ready(window)
        box = window.open_chat()
        box.fill("/explain")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.until(lambda: body.count() and "abc" in body.inner_text(), "it begins")
        window.chat.locator("#stop").click()
        ending = window.chat.locator(".ending")
        window.until(lambda: ending.count() and "stopped" in ending.inner_text(), "it is stopped")
        window.chat.locator("#retry").click()
        window.until(lambda: window.chat.locator("#stop").is_visible(), "it answers again")
        assert window.chat.locator(".user").count() == 1


def test_the_chat_by_the_keyboard_alone(tmp_path: Path) -> None:
    answer = "It adds.\n\n```python\nadd(1, 2)\n```\nDone."
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted(answer)) as window:
        end_of(window, "a.py")
        ready(window)
        window.run("StarCoder: Ask About the Selection")
        page = window.chat_frame()
        focused = "document.activeElement.id || document.activeElement.textContent"
        window.until(lambda: page.evaluate(focused) == "input", "one may write at once")
        window.type("What is this?")
        window.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.until(lambda: body.count() and "Done." in body.inner_text(), "it answers")
        window.until(lambda: window.chat.locator("#send").is_visible(), "it has answered")
        for button in ("Insert", "Copy"):
            press_until(window, "Shift+Tab", lambda b=button: page.evaluate(focused) == b)
            window.press("Enter")
            if button == "Insert":
                window.until(lambda: "add(1, 2)" in window.lines(), "the code is in the file")
                window.run("StarCoder: Ask About the Selection")
                window.until(lambda: page.evaluate(focused) == "input", "back in the chat")
        read = "navigator.clipboard.readText()"
        window.until(lambda: window.page.evaluate(read) == "add(1, 2)\n", "the code is copied")


def test_files_are_attached_with_an_at_sign(tmp_path: Path) -> None:
    files = {"a.py": CODE, "other.py": "ANSWER = 42\n"}
    with vscode(tmp_path, files, {}, scripted("Yes.")) as window:
        window.open("a.py")
        ready(window)
        box = window.open_chat()
        box.focus()
        window.type("me@home, see @")
        window.choose("other.py")
        chip = window.chat.locator("#chips .chip")
        window.until(chip.count, "a chip")
        assert "other.py" in chip.inner_text()
        assert box.input_value() == "me@home, see "
        window.type("@")
        window.page.locator(".quick-input-widget input").first.wait_for()
        window.press("Escape")
        window.until(lambda: box.input_value() == "me@home, see @", "the sign itself")
        chip.click()
        window.until(lambda: not chip.count(), "it is taken away")


def press_until(window: VSCode, key: str, holds: Callable[[], bool]) -> None:
    for _ in range(40):
        if holds():
            return
        window.press(key)
        window.page.wait_for_timeout(50)
    window.picture("failed")
    raise AssertionError(f"{key} does not lead there")


@pytest.mark.parametrize("theme", THEMES)
def test_the_chat_is_accessible(theme: str, tmp_path: Path) -> None:
    answer = "# It *adds*\n\n[a](https://a.org) `b`\n\n```python\nadd(1, 'b')  # c\n```\nOK."
    with vscode(tmp_path, {"a.py": CODE}, {}, scripted(answer)) as window:
        window.set(**{"workbench.colorTheme": theme})
        end_of(window, "a.py")
        ready(window)
        window.run("StarCoder: Ask About the Selection")
        chat = window.chat
        window.until(chat.locator("#chips .chip").count, "a chip")
        chat.locator("#input").fill("What is this?")
        chat.locator("#input").press("Enter")
        body = chat.locator(".assistant .body").last
        window.until(lambda: body.count() and "OK." in body.inner_text(), "it answers")
        window.until(lambda: chat.locator("#send").is_visible(), "it has answered")
        chat.locator("#history").click()
        window.until(chat.locator("#past button").count, "earlier conversations")
        window.run("StarCoder: Ask About the Selection")
        window.until(chat.locator("#chips .chip").count, "a chip again")
        page = window.chat_frame()
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run().then(found => found)")
        window.picture(f"chat-{theme.lower().replace(' ', '-')}")
        assert len(found["passes"]) > 15
        wrong = [
            (one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]
        ]
        assert wrong == []


@pytest.mark.usefixtures("own_engines")
def test_the_demo_model_chats_and_writes_a_test(tmp_path: Path) -> None:
    code = "def is_even(n):\n    return n % 2 == 0\n"
    with vscode(tmp_path, {"numbers.py": code}, DEMO, SERVER) as window:
        window.open("numbers.py")
        ready(window, "demo model")
        window.press("Control+a")
        window.run("StarCoder: Ask About the Selection")
        box = window.chat.locator("#input")
        box.wait_for()
        box.fill("/explain")
        box.press("Enter")
        body = window.chat.locator(".assistant .body").last
        window.until(lambda: body.count() and body.inner_text().strip(), "it answers")
        window.until(lambda: window.chat.locator("#send").is_visible(), "it has answered")
        window.picture("demo-chat")
        end_of_file(window)
        window.press("ArrowUp")
        window.run("StarCoder: Write Tests")
        toast = window.page.locator(".notification-toast", has_text="is_even")
        toast.first.wait_for(timeout=90_000)
        window.picture("demo-tests")

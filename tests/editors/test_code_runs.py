"""Code of an answer is run from the chats of real VS Code and Neovim, in the real sandbox."""

from pathlib import Path

import pytest

from sandbox.sandbox import isolation_problem
from tests.e2e.client import scripted
from tests.editors.conftest import INSTALLED, skip
from tests.editors.neovim import NEOVIM_MARKS, Neovim, neovim
from tests.editors.vscode import CODE, VSCode, vscode, wait_until_ready

PLOT = """\
import matplotlib.pyplot as plt
import own
print(f"<b>{own.ANSWER}</b>")
plt.figure(figsize=(3, 2))
plt.plot([1, 3, 2])
plt.show()
"""
ENDLESS = "print('begun', flush=True)\nwhile True: pass\n"
ANSWER = (
    f"Draw:\n\n```python\n{PLOT}```\n\n> ```\n> quoted\n> ```\n\nor wait:\n\n"
    f"```py\n{ENDLESS}```\n\nor\n\n```sh\nls\n```\n"
)


@pytest.fixture
def plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an environment in which matplotlib is installed."""
    if (problem := isolation_problem()) is not None:
        skip(problem)
    environment = INSTALLED / "plots/.venv"
    if not environment.exists():
        skip("plots are not in .editors; `make test-editors` installs them")
    monkeypatch.setenv("STARCODER_LSP_CHATS", str(tmp_path / "chats.sqlite3"))
    monkeypatch.setenv("STARCODER_LSP_CONSENT", str(tmp_path / "consent.json"))
    project = tmp_path / "workspace"
    project.mkdir()
    (project / ".venv").symlink_to(environment)
    (project / "own.py").write_text("ANSWER = 42\n")
    (project / "a.py").write_text(CODE)
    for path in (project, *project.parents[:3]):
        path.chmod(0o755)  # if the tests run as root, the program is another user
    return project


def ask(window: VSCode) -> None:
    box = window.open_chat()
    box.fill("Draw it.")
    box.press("Enter")
    window.wait_until(window.chat.locator("#send").is_visible, "the answer is complete")


@pytest.mark.usefixtures("vscode_installed")
def test_code_of_an_answer_runs_in_vs_code(plots: Path, tmp_path: Path) -> None:
    with vscode(tmp_path, {}, {"runTests": "ask"}, scripted(ANSWER)) as window:
        window.open("a.py")
        wait_until_ready(window)
        ask(window)
        chat = window.chat
        bars, results = chat.locator(".code-bar"), chat.locator(".run-result")
        window.wait_until(lambda: bars.count() == 4, "the code blocks")
        assert [bars.nth(i).locator(".run").count() for i in range(4)] == [1, 0, 1, 0]
        bars.nth(0).locator(".run").click()
        toast = window.page.locator(".notification-toast", has_text="code from the chat")
        toast.locator("a.monaco-button", has_text="Run").first.click(timeout=30_000)
        window.wait_until(lambda: results.locator("img").count(), "the figure")
        assert "passed" in results.locator(".run-note").inner_text()
        output = results.locator(".run-output")
        assert output.inner_text().strip() == "<b>42</b>"  # never HTML
        width = "image => image.complete && image.naturalWidth"
        window.wait_until(
            lambda: results.locator("img").evaluate(width) > 200, "the policy allows the figure"
        )
        results.locator("img").scroll_into_view_if_needed()
        window.save_picture("run-code")

        bars.nth(2).locator(".run").click()
        window.wait_until(
            lambda: bars.nth(2).locator(".run").inner_text() == "Stop", "it runs without a question"
        )
        window.page.wait_for_timeout(1000)
        bars.nth(2).locator(".run").click()
        failed = chat.locator(".run-result.failed .run-note")
        window.wait_until(lambda: failed.count() and failed.inner_text() == "Stopped.", "it stops")
        assert bars.nth(2).locator(".run").inner_text() == "Run"
        # What came out stays when the conversation is shown again.
        chat.locator("#input").fill("Again")
        chat.locator("#input").press("Enter")
        window.wait_until(lambda: chat.locator(".assistant").count() == 2, "the next answer")
        window.wait_until(chat.locator("#send").is_visible, "the next answer is complete")
        assert results.locator("img").count() == 1


def in_chat(editor: Neovim, text: str) -> None:
    """Move the cursor to a text in the conversation."""
    editor.client.command("stopinsert")
    editor.client.command("call win_gotoid(bufwinid('starcoder://chat'))")
    editor.client.command(f"call search('{text}')")


class TestNeovim:
    """The tests in Neovim."""

    pytestmark = NEOVIM_MARKS

    def test_code_of_an_answer_runs(self, version: str, plots: Path, tmp_path: Path) -> None:
        settings = {"runTests": "always"}
        file, server = plots / "a.py", scripted(ANSWER)
        options = {"root_markers": ["own.py"]}
        with neovim(version, file, server=server, settings=settings, options=options) as editor:
            editor.wait_for_server()
            editor.client.command("Starcoder chat Draw it.")
            chat = "starcoder://chat"
            editor.wait_until(lambda: "```sh\nls" in editor.buffer_text(chat), "the answer")
            editor.lua("require('starcoder.chat').open()")
            in_chat(editor, "while True")
            editor.client.command("Starcoder run")
            editor.wait_until(lambda: "*(running" in editor.buffer_text(chat), "it runs")
            in_chat(editor, "import own")
            editor.keys("gR")
            editor.wait_until(lambda: "Figure: " in editor.buffer_text(chat), "a figure")
            text = editor.buffer_text(chat)
            assert "plt.show()\n```\n*(passed after " in text
            assert " s)*\n```text\n<b>42</b>\n```\nFigure: /" in text
            assert text.index("*(running") > text.index("Figure: ")
            (line,) = [each for each in text.splitlines() if each.startswith("Figure: ")]
            figure = Path(line.removeprefix("Figure: "))
            assert figure.read_bytes().startswith(b"\x89PNG")
            assert figure.parent.stat().st_mode & 0o077 == 0

            editor.lua("vim.ui.open = function(path) _G.opened = path end")
            in_chat(editor, "^Figure")
            editor.keys("<CR>")
            opened = lambda: editor.lua("return _G.opened")  # noqa: E731
            assert editor.wait_until(opened, "it is opened") == str(figure)

            editor.client.command("Starcoder stop")
            editor.wait_until(lambda: "*(stopped)*" in editor.buffer_text(chat), "it is stopped")
            assert "*(running" not in editor.buffer_text(chat)
            in_chat(editor, "^ls$")
            editor.keys("gR")
            message = "starcoder: Code in sh cannot be run here, only Python and JavaScript."
            editor.wait_until(lambda: message in editor.messages, "the error")

            in_chat(editor, "import own")
            editor.client.command("Starcoder run")
            editor.wait_until(
                lambda: (
                    str(figure) not in editor.buffer_text(chat)
                    and "Figure: " in editor.buffer_text(chat)
                ),
                "the next result takes the place of the first",
            )
            assert editor.buffer_text(chat).count("<b>42") == 1

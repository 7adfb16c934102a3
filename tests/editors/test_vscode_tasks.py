"""Tests of tasks in real VS Code: the light bulb, the diff with its buttons, explanations."""

import json
import sys
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, TimeoutError

from tests.editors.runnable import TESTS, lay_out_tests
from tests.editors.tasks_server import (
    DOCUMENTATION,
    EXPLANATION,
    INSTRUCTION,
    REVIEW,
    TRANSLATION,
)
from tests.editors.vscode import CODE, VSCode, open_at_end, vscode, wait_until_ready

pytestmark = pytest.mark.usefixtures("vscode_installed")

SERVER = [sys.executable, "-P", "-m", "tests.editors.tasks_server"]
PYTHON = "def add(a, b):\n    return a + missing\n"
TYPESCRIPT = "export function add(a: number, b: number): number {\n  return a + missing;\n}\n"
PACKAGE = json.dumps({"devDependencies": {"vitest": "4.1.12"}})
PROBLEMS = """
const vscode = require("vscode");
exports.activate = () => {
  const problems = vscode.languages.createDiagnosticCollection("problems");
  const check = (document) => {
    if (document.languageId !== "python") return;
    const start = document.getText().indexOf("missing");
    const range = new vscode.Range(
      document.positionAt(start), document.positionAt(start + "missing".length));
    const found = start < 0 ? [] : [new vscode.Diagnostic(range, "Undefined name 'missing'")];
    problems.set(document.uri, found);
  };
  vscode.workspace.onDidOpenTextDocument(check);
  vscode.workspace.onDidChangeTextDocument(({ document }) => check(document));
  vscode.workspace.textDocuments.forEach(check);
};
"""
"""An extension that finds problems in Python, as Pylance would."""


def problem_finder(file: Path) -> Path:
    """Package the extension PROBLEMS."""
    manifest = {
        "name": "problems",
        "publisher": "test",
        "version": "0.0.1",
        "engines": {"vscode": "^1.91.0"},
        "main": "./main.js",
        "activationEvents": ["*"],
    }
    with zipfile.ZipFile(file, "w") as package:
        package.writestr("extension/package.json", json.dumps(manifest))
        package.writestr("extension/main.js", PROBLEMS)
        package.writestr(
            "extension.vsixmanifest",
            '<PackageManifest Version="2.0.0" '
            'xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011"><Metadata>'
            '<Identity Language="en-US" Id="problems" Version="0.0.1" Publisher="test"/>'
            "</Metadata></PackageManifest>",
        )
    return file


def choose_action(window: VSCode, title: str) -> None:
    """Choose an item of the light bulb's menu."""
    items = window.page.locator(".action-widget .monaco-list-row", has_text=title)

    def is_offered() -> bool:
        # Problems, and the actions for them, arrive some time after the file was opened.
        window.press("Escape")
        window.press("Control+.")
        try:
            items.first.wait_for(timeout=3000)
        except TimeoutError:
            return False
        return True

    window.wait_until(is_offered, f"the action {title!r}")
    items.first.click()


def button(window: VSCode, name: str) -> None:
    """Click a button in the title of the diff."""
    window.page.locator(f'.editor-actions [aria-label^="{name}"]').first.click(timeout=60_000)


def toasts(window: VSCode) -> int:
    return window.page.locator(".notification-toast", has_text="Accept or Discard").count()


def wait_for_diff(window: VSCode, text: str) -> None:
    window.wait_until(lambda: any(text in line for line in window.diff()), f"a diff with {text!r}")
    window.wait_until(lambda: toasts(window) == 1, "one notification")


def wait_until_closed(window: VSCode) -> None:
    window.wait_until(lambda: not window.diff() and not toasts(window), "diff and toast are closed")


@pytest.mark.parametrize(
    ("name", "text", "test_line", "test_file"),
    [
        ("shop.py", PYTHON, "    assert add(1, 2) == 3", "tests/test_shop.py"),
        ("shop.ts", TYPESCRIPT, "  expect(add(1, 2)).toBe(3);", "shop.test.ts"),
    ],
    ids=["python", "typescript"],
)
def test_the_light_bulb_previews_edits_and_shows_explanations(
    tmp_path: Path, name: str, text: str, test_line: str, test_file: str
) -> None:
    finder = problem_finder(tmp_path / "problems.vsix")
    files = {name: text, "package.json": PACKAGE}
    with vscode(tmp_path, files, {}, SERVER, more_extensions=(finder,)) as window:
        open_at_end(window, name)
        wait_until_ready(window)
        file, tests = window.workspace / name, window.workspace / test_file

        window.press("ArrowUp")
        window.press("ArrowUp")
        choose_action(window, "Explain add")
        tab = window.page.locator(".tab", has_text=f"Explanation ({name})")
        window.wait_until(tab.count, "a document with the explanation")
        window.wait_until(lambda: EXPLANATION in window.lines(), "the explanation")
        window.save_picture(f"bulb-explain-{file.suffix[1:]}")
        tab.click()
        window.press("Control+w")
        window.wait_until(lambda: not tab.count(), "it closes without a question")

        open_at_end(window, name)
        window.press("Control+Home")
        window.press("End")
        choose_action(window, "Write tests for add")
        wait_for_diff(window, test_line.strip())
        window.save_picture(f"bulb-tests-{file.suffix[1:]}")
        assert window.page.locator(".tab", has_text=f"{test_file} (new file)").count()
        assert not window.page.locator(".monaco-diff-editor .line-delete").count()
        assert not tests.exists()
        button(window, "Accept")
        window.wait_until(tests.exists, "the file is created")
        wait_until_closed(window)
        window.wait_until(lambda: test_line in window.lines(), "it is shown")

        open_at_end(window, name)
        window.press("Control+Home")
        window.press("End")
        choose_action(window, "Document add")
        wait_for_diff(window, DOCUMENTATION)
        button(window, "Accept")
        wait_until_closed(window)
        window.wait_until(
            lambda: any(DOCUMENTATION in line for line in window.lines()), "it is documented"
        )

        window.page.locator(".view-line", has_text="missing").first.click()
        choose_action(window, "Fix with StarCoder")
        wait_for_diff(window, "return a + b")
        window.save_picture(f"bulb-fix-{file.suffix[1:]}")
        button(window, "Accept")
        wait_until_closed(window)
        window.wait_until(
            lambda: any("return a + b" in line for line in window.lines()), "it is fixed"
        )


def start_edit(window: VSCode) -> None:
    """Ask for another order of the operands in the second line of the file."""
    window.page.locator(".monaco-editor .view-line", has_text="return").first.click()
    window.press("Home")
    window.press("Shift+End")
    window.run("StarCoder: Edit by Instruction")
    window.page.locator(".quick-input-widget input").first.fill(INSTRUCTION)
    window.press("Enter")


def test_a_proposal_is_decided_once_and_closed_as_a_whole(tmp_path: Path) -> None:
    before, after = "    return a + b", "    return b + a"
    with vscode(tmp_path, {"shop.py": CODE}, {}, SERVER) as window:
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        toast = window.page.locator(".notification-toast", has_text="Accept or Discard")
        tabs = window.page.locator(".tab", has_text="shop.py: Edit")

        start_edit(window)
        wait_for_diff(window, after.strip())
        toast.locator("a", has_text="Discard").click()
        wait_until_closed(window)
        assert before in window.lines()

        start_edit(window)
        wait_for_diff(window, after.strip())
        window.open("shop.py")
        assert tabs.count() == 1  # another file does not replace the diff
        start_edit(window)
        window.page.wait_for_timeout(3000)  # a second tab would be there by then
        wait_for_diff(window, after.strip())
        assert tabs.count() == 1

        window.press("Control+w")
        wait_until_closed(window)
        assert before in window.lines()

        start_edit(window)
        wait_for_diff(window, after.strip())
        window.save_picture("proposal")
        toast.locator("a", has_text="Accept").click()
        wait_until_closed(window)
        window.wait_until(lambda: after in window.lines(), "it is accepted")


def test_a_proposal_is_not_applied_to_changed_text(tmp_path: Path) -> None:
    slow = [*SERVER, "0.2"]
    with vscode(tmp_path, {"shop.py": CODE}, {}, slow) as window:
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        warning = window.page.locator(".notification-toast", has_text="shop.py has changed")

        start_edit(window)
        window.page.locator(".notification-toast", has_text="editing").wait_for()
        window.press("Control+Home")
        window.type("# ")
        window.wait_until(warning.count, "a warning")
        assert window.lines()[:2] == ["# def add(a, b):", "    return a + b"]
        window.run("Notifications: Clear All Notifications")
        window.wait_until(lambda: not warning.count(), "the warning is closed")

        window.run("File: Revert File")
        window.wait_until(lambda: "def add(a, b):" in window.lines(), "the file is as it was")
        start_edit(window)
        wait_for_diff(window, "return b + a")
        (window.workspace / "shop.py").write_text("# new\n" + CODE)
        window.page.wait_for_timeout(2000)
        button(window, "Accept")
        window.wait_until(warning.count, "a warning")
        wait_until_closed(window)
        assert (window.workspace / "shop.py").read_text() == "# new\n" + CODE


def write_tests(window: VSCode) -> None:
    """Ask for tests of the function in the file."""
    window.open("example.py")
    window.press("Control+Home")
    window.run("StarCoder: Write Tests")


def wait_for_toast(window: VSCode, text: str) -> Locator:
    toast = window.page.locator(".notification-toast", has_text=text).first
    toast.wait_for(timeout=60_000)
    return toast


CHECKED = "1 test, passes, detects 2 of 2 mutations, covers 1 of 1 line."


@pytest.mark.usefixtures("isolated")
def test_tests_are_run_with_consent_that_is_asked_once(tmp_path: Path) -> None:
    question = "StarCoder: run generated tests of add?"
    (tmp_path / "workspace").mkdir()
    tests = lay_out_tests(tmp_path / "workspace")
    server = [*SERVER, "0.01"]
    with vscode(tmp_path, {"example.py": CODE}, {"runTests": "ask"}, server) as window:
        open_at_end(window, "example.py")
        wait_until_ready(window)
        write_tests(window)
        toast = wait_for_toast(window, question)
        window.save_picture("consent")
        assert toast.inner_text().count(str(window.workspace)) == 1
        toast.locator("a.monaco-button", has_text="Always").click()
        wait_for_toast(window, "StarCoder: running 1 test")
        wait_for_diff(window, "assert add(1, 2) == 3")
        wait_for_toast(window, CHECKED)
        window.save_picture("checked-tests")
        button(window, "Discard")
        wait_until_closed(window)
        assert tests.read_text() == TESTS

        write_tests(window)
        wait_for_toast(window, "StarCoder: running 1 test")
        assert not window.page.locator(".notification-toast", has_text=question).count()
        wait_for_diff(window, "assert add(1, 2) == 3")
        button(window, "Accept")
        wait_until_closed(window)
        window.wait_until(lambda: "    assert add(1, 2) == 3" in window.lines(), "it is shown")
        window.press("Control+z")
        window.wait_until(lambda: "    assert add(1, 2) == 3" not in window.lines(), "it is undone")

        window.run("StarCoder: Ask Again Before Running Generated Code")
        wait_for_toast(window, "StarCoder asks again")
        write_tests(window)
        toast = wait_for_toast(window, question)
        toast.hover()
        toast.locator(".codicon-notifications-clear").first.click()
        wait_for_diff(window, "assert add(1, 2) == 3")
        assert not window.page.locator(".notification-toast", has_text="detects").count()
        before = tests.read_text()
        toast = wait_for_toast(window, "Add a test of add")
        toast.locator("a.monaco-button", has_text="Cancel").click()
        wait_until_closed(window)
        assert tests.read_text() == before


@pytest.mark.usefixtures("isolated")
def test_an_untrusted_workspace_never_runs_generated_code(tmp_path: Path) -> None:
    # The workspace tries to consent in place of its user.
    settings = json.dumps({"starcoder.runTests": "always"})
    files = {"example.py": CODE, ".vscode/settings.json": settings}
    (tmp_path / "workspace").mkdir()
    lay_out_tests(tmp_path / "workspace")
    with vscode(tmp_path, files, {"runTests": "always"}, SERVER, trusted=False) as window:
        open_at_end(window, "example.py")
        wait_until_ready(window)
        write_tests(window)
        wait_for_diff(window, "assert add(1, 2) == 3")
        assert not window.page.locator(".notification-toast", has_text="detects").count()


def test_a_review_and_a_translation_are_shown_next_to_the_code(tmp_path: Path) -> None:
    with vscode(tmp_path, {"shop.py": CODE}, {}, SERVER) as window:
        open_at_end(window, "shop.py")
        wait_until_ready(window)
        window.press("Control+Home")
        window.press("End")
        choose_action(window, "Review add")
        window.wait_until(lambda: REVIEW in window.lines(), "the review")
        assert window.page.locator(".tab", has_text="Review (shop.py)").count()
        window.run("StarCoder: Translate to Another Language")
        window.choose("Go")
        window.wait_until(lambda: TRANSLATION in window.lines(), "the translation")
        assert "```go" in window.lines()
        assert window.page.locator(".tab", has_text="Translation (shop.py)").count()
        window.save_picture("translation")

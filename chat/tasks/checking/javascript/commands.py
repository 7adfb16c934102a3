"""The commands of Node's test runner, Jest and Vitest, and how their results are read."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chat.tasks.checking.command_runner import Invocation
from chat.tasks.checking.javascript.programs import REPORT, REPORTER
from chat.tasks.checking.runner import CannotRunError
from sandbox.command import PRIVATE_FOLDER

_RESULTS = f"{PRIVATE_FOLDER}/starcoder-results.json"
_PROGRAMS = {"jest": "jest/bin/jest.js", "vitest": "vitest/vitest.mjs"}
_WITH_VALUE = frozenset(
    {"--import", "--require", "-r", "--loader", "--experimental-loader", "--conditions", "-C"}
)
_ALONE = frozenset(
    {
        "--experimental-strip-types", "--experimental-transform-types", "--enable-source-maps",
        "--experimental-vm-modules", "--experimental-test-module-mocks",
        "--experimental-require-module",
    }
)  # fmt: skip
"""Options of Node that decide how modules are loaded. Others of the project are left out."""
_MODULES_OF_JEST = "--experimental-vm-modules"
"""The option of Node without which Jest runs no ES modules."""
_JESTS_BULLET = "●"
"""What the titles in Jest's messages begin with."""
_FIRST_WITH_LOADERS = (3, 1)
"""The first version of Vitest that can read its configuration without writing into the project."""
_IGNORED = frozenset({"pending", "skipped", "todo", "disabled"})


@dataclass(frozen=True, slots=True)
class JavaScriptProject:
    """A package, and how its tests are run."""

    framework: str
    node: Path
    root: Path
    """The folder in which the tests run."""
    folder: Path
    """The folder of the workspace."""
    test_file: Path
    options: tuple[str, ...] = ()
    """Options of Node."""

    def invocation(self, mark: str) -> Invocation:
        """Return the command that runs the tests with `mark` in their titles."""
        if self.framework == "node":
            reporter = "data:text/javascript," + quote(REPORTER)
            arguments: tuple[str, ...] = (
                f"--test-reporter={reporter}",
                "--test-reporter-destination=stdout",
                str(self.test_file),
            )
        elif self.framework == "jest":
            arguments = (*self._program(), *_jest(self.test_file, mark))
        else:
            arguments = (*self._program(), *_vitest(self.test_file, mark, self._has_loaders()))
        return Invocation(
            (str(self.node), "--max-old-space-size=1024", *self.options, *arguments),
            self.root,
            {
                "PATH": f"{self.node.parent}:/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "CI": "true",  # so that no snapshot is written, and nothing waits for changes
                "NODE_ENV": "test",
                "NO_COLOR": "1",
            },
            (REPORT, _RESULTS),
        )

    def results(
        self, lines: Sequence[Any], reports: Sequence[str]
    ) -> tuple[Mapping[str, bool], str]:
        """Return whether each test passed, by its title, and what is wrong with their file."""
        if self.framework == "node":
            return {line[1]: line[2] for line in lines if line[0] == "end"}, ""
        try:
            files = json.loads(reports[0])["testResults"]
        except (ValueError, KeyError, IndexError):
            return {}, ""
        results: dict[str, bool] = {}
        for test in (test for file in files for test in file.get("assertionResults", ())):
            titles = [*filter(None, test.get("ancestorTitles", ())), test.get("title", "")]
            status = test.get("status")
            if status not in _IGNORED:
                results[titles[0]] = results.get(titles[0], True) and status == "passed"
        message = next((str(file["message"]) for file in files if file.get("message")), "")
        texts = (line.strip() for line in message.split("\n"))
        return results, next((text for text in texts if text and text[0] != _JESTS_BULLET), "")

    def _program(self) -> tuple[str, ...]:
        return (str(self._package() / _PROGRAMS[self.framework].partition("/")[2]),)

    def _package(self) -> Path:
        """Return the folder of the installed framework; raises CannotRunError if there is none."""
        for folder in (self.root, *self.root.parents):
            if not folder.is_relative_to(self.folder):
                break
            package = folder / "node_modules" / self.framework
            if (package / "package.json").is_file():
                return package
        name = self.framework.capitalize()
        raise CannotRunError(f"{name} is not installed in {self.root}. Run `npm install` there.")

    def _has_loaders(self) -> bool:
        try:
            text = (self._package() / "package.json").read_text(encoding="utf-8")
            version = str(json.loads(text)["version"])
        except (OSError, ValueError, KeyError):
            return False
        numbers = re.findall(r"\d+", version)[:2]
        return tuple(map(int, numbers)) >= _FIRST_WITH_LOADERS


def _jest(test_file: Path, mark: str) -> tuple[str, ...]:
    return (
        f"--cacheDirectory={PRIVATE_FOLDER}/jest",
        "--ci", "--runInBand", "--forceExit", "--coverage=false", "--watchman=false", "--silent",
        "--json", f"--outputFile={_RESULTS}", f"--testNamePattern={mark}",
        "--runTestsByPath", str(test_file),
    )  # fmt: skip


def _vitest(test_file: Path, mark: str, has_loaders: bool) -> tuple[str, ...]:
    loader = ("--configLoader=runner",) if has_loaders else ()
    return (
        "run", str(test_file), *loader, f"--testNamePattern={mark}", "--cache=false",
        "--coverage.enabled=false", "--reporter=json", f"--outputFile={_RESULTS}",
        "--pool=threads", "--no-file-parallelism",
    )  # fmt: skip


def node_options(scripts: Mapping[str, Any], framework: str) -> tuple[str, ...]:
    """Return the options for loading modules in the scripts of a package that run its tests."""
    texts = [text for text in scripts.values() if isinstance(text, str)]
    if framework != "node":
        is_used = any(_MODULES_OF_JEST in text for text in texts)
        return (_MODULES_OF_JEST,) if is_used and framework == "jest" else ()
    texts = [text for text in texts if "--test" in text]
    try:
        words = shlex.split(texts[0]) if texts else []
    except ValueError:
        return ()
    options: list[str] = []
    for index, word in enumerate(words[:-1]):
        if word in _WITH_VALUE:
            options += words[index : index + 2]
        elif word in _ALONE or word.partition("=")[0] in _WITH_VALUE:
            options.append(word)
    return tuple(options)

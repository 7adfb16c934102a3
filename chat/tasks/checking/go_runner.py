"""Runs Go's tests, offline."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from chat.tasks.checking.build_runner import COPY, BuildRunner, BuiltProject
from chat.tasks.checking.command_runner import Invocation
from chat.tasks.checking.overlays import Overlays
from sandbox.command import PRIVATE_FOLDER

_ERROR_LINE = re.compile(r"^(?:\./|vet: )?([^\s:]+\.go):(\d+):\d+: ", re.M)


class GoRunner(BuildRunner):
    """Runs the tests of one package."""

    def __init__(
        self, project: BuiltProject, go: Path, modules: Path | None, overlays: Overlays
    ) -> None:
        """`modules` is the folder with the sources of dependencies, None without one."""
        super().__init__(project, overlays)
        self._go, self._modules = go, modules

    def _invocation(self, mark: str, *, shows_output: bool) -> Invocation:
        folder = self._project.test_file.parent.relative_to(self._project.root)
        return Invocation(
            (str(self._go), "test", "-json", "-count=1", "-p=1", f"-run={mark}", "."),
            COPY / folder,
            {
                "PATH": f"{self._go.parent}:/usr/local/bin:/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "GOPATH": f"{PRIVATE_FOLDER}/go",
                "GOCACHE": f"{PRIVATE_FOLDER}/go-cache",
                "GOMODCACHE": str(self._modules or f"{PRIVATE_FOLDER}/go/pkg/mod"),
                "GOENV": "off",
                "GOFLAGS": "-mod=mod",
                "GOPROXY": "off",
                "GOSUMDB": "off",
                "GOTOOLCHAIN": "local",
                "GOTELEMETRY": "off",
            },
        )

    def _marked(self, text: str, name: str, new_name: str) -> str:
        return re.sub(rf"\bfunc {re.escape(name)}\b", f"func Test_{new_name}", text, count=1)

    def _proof(self, mark: str) -> str:
        return rf'"Action":"pass".*"Test":"Test_{mark}_\d+"'

    def _read(self, output: str, mark: str) -> tuple[Mapping[int, bool], Sequence[int]]:
        return read_events(output, mark)

    def _wrong_lines(self, output: str) -> list[int]:
        return wrong_lines(output, self._project.test_file.name)


def read_events(output: str, mark: str) -> tuple[dict[int, bool], list[int]]:
    """Return the results in the output of `go test -json`, and which tests have started."""
    passed: dict[int, bool] = {}
    started: list[int] = []
    for event in _events(output):
        match = re.fullmatch(rf"Test_{mark}_(\d+)", str(event.get("Test", "")))
        if match is None:
            continue
        if event.get("Action") == "run":
            started.append(int(match[1]))
        elif event.get("Action") in ("pass", "fail"):
            passed[int(match[1])] = event["Action"] == "pass"
    return passed, started


def wrong_lines(output: str, name: str) -> list[int]:
    """Return the lines of a file, from 1, in which Go found errors.

    Since Go 1.24 its messages are events too.
    """
    messages = [str(event.get("Output", "")) for event in _events(output)]
    text = "".join([output, "\n", *messages])
    places = _ERROR_LINE.findall(text)
    return sorted({int(line) for path, line in places if os.path.basename(path) == name})


def _events(output: str) -> list[Mapping[str, object]]:
    events: list[Mapping[str, object]] = []
    for line in output.split("\n"):
        if line.startswith("{"):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # it was cut, or a test has written it
            if isinstance(event, dict):
                events.append(event)
    return events

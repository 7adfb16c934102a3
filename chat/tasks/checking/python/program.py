"""Script: runs tests of a Python project inside the sandbox, with the project's own interpreter.

Usage: `python -B -c TEXT_OF_THIS_FILE`. stdin is a JSON object: `mark`, `framework` ("pytest" or
"unittest"), `root`, `test_file`, `source_file`, `names` (of the tests; null for all), `variants`
(texts of the source file, null for the file as it is), `first_line` and `last_line` of the subject
(from 1), `paths` (folders to import from), `options` (of pytest), `module` (the name of the test
file for unittest), `elsewhere` (null, or the text of `python.elsewhere`), and `seconds` for each
variant.

Each variant runs in a forked process. What it reports goes to stdout, one JSON array per line after
the mark: ["begin", variant], ["lines", [line...]], ["start", test], ["end", test, passed],
["covered", test, [line...]], ["seen", test, index, observation], ["problem", text].

It imports only the standard library and the project's test framework. It must run on Python 3.8.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import json
import linecache
import mmap
import os
import signal
import sys
import time
import traceback
import types
import unittest
from collections.abc import Callable
from typing import Any

_MAX_REPR = 2000
_POLL_S = 0.01
_TEST_S, _SHORTEST_TEST_S = 2.0, 0.3
"""Maximum time of a test, and the part of it that a test with a mutation gets in any case."""
_SHARED_BYTES = 1 << 16
_SHORTEST_LIMIT_S, _LIMIT_FACTOR = 1.0, 4.0
"""The time for a variant after the first: a part of its own, and a multiple of the first's time."""


class Reporter:
    """Writes reports to the real stdout, which the tests do not see."""

    def __init__(self, descriptor: int, mark: str) -> None:
        self._descriptor, self._mark = descriptor, mark

    def send(self, *report: Any) -> None:
        line = self._mark + json.dumps(report) + "\n"
        os.write(self._descriptor, line.encode("utf-8", "replace"))


def main() -> None:
    """Run all variants, one after the other."""
    job = json.load(sys.stdin)
    reporter = Reporter(os.dup(1), job["mark"])
    sys.path[:] = [path for path in sys.path if path]
    for path in reversed(job["paths"]):
        sys.path.insert(0, path)
    os.chdir(job["root"])
    _silence()
    if job["elsewhere"]:
        namespace: dict[str, Any] = {}
        exec(compile(job["elsewhere"], "elsewhere.py", "exec"), namespace)
        try:
            namespace["change"](job["root"])
        except Exception:
            pass  # with a Python that is too new for it, the tests are only run once more
    variants = Variants(job, reporter)
    try:
        if job["framework"] == "unittest":
            variants.fork()
            _run_unittest(job, reporter, variants)
        else:
            _run_pytest(job, reporter, variants)
    except BaseException:
        reporter.send("problem", traceback.format_exc()[-_MAX_REPR:])
    os._exit(0)


class Variants:
    """Makes a process for each variant, and follows the tests in it."""

    def __init__(self, job: dict[str, Any], reporter: Reporter) -> None:
        self._job, self._reporter = job, reporter
        self._coverage: Coverage | None = None
        self._start_s = 0.0
        self._test_s = _TEST_S
        self._names: list[str] | None = job["names"]
        # For the other variants: the tests that passed in the first one, and the longest time.
        self._shared = mmap.mmap(-1, _SHARED_BYTES)
        self._passed: list[str] = []
        self._slowest_s = 0.0

    def fork(self) -> None:
        """Fork a process for each variant and wait for its end. Returns in these processes only."""
        limit = self._job["seconds"]
        for number, text in enumerate(self._job["variants"]):
            self._reporter.send("begin", number)
            start = time.monotonic()
            child = os.fork()
            if child == 0:
                os.setsid()
                self._start(text)
                return
            _wait(child, limit)
            if number == 0:
                first = json.loads(self._shared[:].rstrip(b"\0") or b"[[], 0]")
                self._names, slowest_s = first
                if not self._names:
                    break
                self._test_s = min(_TEST_S, _SHORTEST_TEST_S + _LIMIT_FACTOR * slowest_s)
                limit = min(limit, _SHORTEST_LIMIT_S + _LIMIT_FACTOR * (time.monotonic() - start))
        os._exit(0)

    def _start(self, text: str | None) -> None:
        # What tests print must not fill the memory. pytest goes on to use the stream before.
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        source = self._job["source_file"]
        _add_observer(source, self._job["root"], self._reporter)
        if text is not None:
            _replace_source(source, text)
            return
        self._reporter.send("lines", sorted(_executable_lines(self._job)))
        self._coverage = Coverage(source, self._job["first_line"], self._job["last_line"])
        self._coverage.start()

    def has(self, name: str) -> bool:
        """Return whether the process runs a test."""
        return self._names is None or name in self._names

    def start_test(self, identifier: str) -> None:
        """Report the start of a test, and limit its time."""
        self._reporter.send("start", identifier)
        self._start_s = time.monotonic()
        if self._coverage is not None:
            self._coverage.lines.clear()
        _limit_time(self._test_s)

    def end_test(self, identifier: str, name: str, passed: bool) -> None:
        """Report the end of a test."""
        _limit_time(0)
        self._reporter.send("end", identifier, passed)
        if self._coverage is not None:
            self._reporter.send("covered", identifier, sorted(self._coverage.lines))
            if passed:
                self._passed.append(name)
                self._slowest_s = max(self._slowest_s, time.monotonic() - self._start_s)
                data = json.dumps([self._passed, self._slowest_s]).encode()[:_SHARED_BYTES]
                self._shared[:] = data + bytes(_SHARED_BYTES - len(data))


def _wait(child: int, seconds: float) -> None:
    """Wait for the end of a process, and kill it and its group after some time."""
    deadline = time.monotonic() + seconds
    has_ended = False
    while not has_ended and time.monotonic() < deadline:
        has_ended = os.waitpid(child, os.WNOHANG)[0] != 0
        if not has_ended:
            time.sleep(_POLL_S)
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        pass
    if not has_ended:
        os.waitpid(child, 0)


def _silence() -> None:
    """Have tests read nothing and write to nobody."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _replace_source(source: str, text: str) -> None:
    """Have Python load another text for a file, and no compiled one."""
    loader = importlib.machinery.SourceFileLoader
    get_data, path_stats = loader.get_data, loader.path_stats

    def is_source(path: Any) -> bool:
        return bool(os.path.realpath(os.fspath(path)) == source)

    def get_text(self: Any, path: Any) -> bytes:
        return text.encode("utf-8") if is_source(path) else get_data(self, path)

    def get_stats(self: Any, path: Any) -> Any:
        if is_source(path):
            raise OSError("no compiled file")
        return path_stats(self, path)

    loader.get_data = get_text  # type: ignore[method-assign]
    loader.path_stats = get_stats  # type: ignore[method-assign]


class Coverage:
    """Collects the lines of the subject that are executed."""

    def __init__(self, source: str, first: int, last: int) -> None:
        self._source, self._first, self._last = source, first, last
        self._is_source: dict[str, bool] = {}
        self.lines: set[int] = set()

    def start(self) -> None:
        import threading

        threading.settrace(self._on_call)
        sys.settrace(self._on_call)

    def _on_call(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        is_source = self._is_source.get(name)
        if is_source is None:
            is_source = self._is_source[name] = os.path.realpath(name) == self._source
        return self._on_line if is_source else None

    def _on_line(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if event == "line" and self._first <= frame.f_lineno <= self._last:
            self.lines.add(frame.f_lineno)
        return self._on_line


def _executable_lines(job: dict[str, Any]) -> set[int]:
    """Return the lines inside the functions of the subject."""
    with io.open_code(job["source_file"]) as file:
        code = compile(file.read(), job["source_file"], "exec", dont_inherit=True)
    first, last = job["first_line"], job["last_line"]
    lines: set[int] = set()
    pending = [code]
    while pending:
        code = pending.pop()
        pending += [each for each in code.co_consts if isinstance(each, types.CodeType)]
        if code.co_flags & 2 and first <= code.co_firstlineno <= last:  # CO_NEWLOCALS: a function
            own = {line for line in _lines_of(code) if line is not None}
            lines |= {line for line in own if line != code.co_firstlineno and line <= last}
    return lines


def _lines_of(code: types.CodeType) -> list[int | None]:
    if hasattr(code, "co_lines"):
        return [line for _, _, line in code.co_lines()]
    import dis

    return [line for _, line in dis.findlinestarts(code)]


class TestTimeout(BaseException):
    """A test takes too long. Tests rarely catch BaseException."""


def _limit_time(seconds: float) -> None:
    """Have the running test fail after some time; 0 ends the limit."""

    def stop(number: int, frame: Any) -> None:
        raise TestTimeout

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)


class PytestReports:
    """A plugin of pytest that selects the tests and reports the results."""

    def __init__(self, reporter: Reporter, variants: Variants) -> None:
        self._reporter, self._variants = reporter, variants
        self._has_passed = False
        self.num_tests = 0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if self._variants.has(_top_name(item.nodeid))]

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self._has_passed = False
        self._variants.start_test(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call":
            self.num_tests += 1
            # A test that was skipped, or fails as expected, shows nothing.
            self._has_passed = report.outcome == "passed"
        elif report.outcome != "passed":
            self._has_passed = False
            self._reporter.send("problem", str(report.longrepr)[-_MAX_REPR:])

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        self._variants.end_test(nodeid, _top_name(nodeid), self._has_passed)

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome == "failed":
            self._reporter.send("problem", str(report.longrepr)[-_MAX_REPR:])


def _top_name(identifier: str) -> str:
    return identifier.split("::")[1].partition("[")[0]


class PytestForks:
    """A plugin of pytest that forks before anything is collected, so that pytest starts once."""

    def __init__(self, variants: Variants, job: dict[str, Any]) -> None:
        self._variants, self._source, self._root = variants, job["source_file"], job["root"]

    def pytest_collection(self, session: Any) -> None:
        if self._is_loaded():
            session.shouldstop = "a conftest imports the subject"
            return
        os.chdir(self._root)
        self._variants.fork()

    def _is_loaded(self) -> bool:
        files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        return any(file and os.path.realpath(file) == self._source for file in files)


def _run_pytest(job: dict[str, Any], reporter: Reporter, variants: Variants) -> None:
    try:
        import pytest
    except Exception as error:
        reporter.send("problem", "pytest cannot be imported: " + str(error))
        return
    # pytest does not understand brackets in a path, so the argument is the file's name alone.
    folder, name = os.path.split(job["test_file"])
    arguments = [name, "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-s"]
    arguments += ["--rootdir", job["root"], *job["options"]]
    output = sys.stdout = io.StringIO()
    reports, forks = PytestReports(reporter, variants), PytestForks(variants, job)
    process = os.getpid()
    os.chdir(folder)
    pytest.main(arguments, plugins=[reports, forks])
    if os.getpid() == process:
        # Nothing has forked: pytest could not start, or a conftest has imported the subject. Then
        # each variant needs a new start, without what was imported.
        _forget_project(job["paths"])
        variants.fork()
        os.chdir(folder)
        pytest.main(arguments, plugins=[reports, ProjectFolder(job["root"])])
    if not reports.num_tests:
        reporter.send("problem", output.getvalue()[-_MAX_REPR:])


class ProjectFolder:
    """A plugin of pytest that goes to the project's folder before anything is collected."""

    def __init__(self, root: str) -> None:
        self._root = root

    def pytest_collection(self, session: Any) -> None:
        os.chdir(self._root)


def _forget_project(paths: list[str]) -> None:
    """Have modules of the project imported again."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if any(file.startswith(path + os.sep) for path in paths):
            del sys.modules[name]


class UnittestReports(unittest.TestResult):
    """A result of unittest that reports each test."""

    def __init__(self, reporter: Reporter, variants: Variants) -> None:
        super().__init__()
        self._reporter, self._variants = reporter, variants
        self._bad = False

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self._bad = False
        self._variants.start_test(test.id())

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        self._variants.end_test(test.id(), _last_name(test.id()), not self._bad)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._bad = True
        self._reporter.send("problem", "".join(traceback.format_exception(*err))[-_MAX_REPR:])

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._bad = True

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._bad = True

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._bad = True

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self._bad = True

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        self._bad = self._bad or err is not None


def _run_unittest(job: dict[str, Any], reporter: Reporter, variants: Variants) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location(job["module"], job["test_file"])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[job["module"]] = module
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    tests = [test for test in _tests_in(suite) if variants.has(_last_name(test.id()))]
    unittest.TestSuite(tests).run(UnittestReports(reporter, variants))


def _tests_in(suite: Any) -> list[Any]:
    if isinstance(suite, unittest.TestSuite):
        return [test for inner in suite for test in _tests_in(inner)]
    return [suite]


def _last_name(identifier: str) -> str:
    return identifier.rpartition(".")[2]


def _add_observer(source: str, root: str, reporter: Reporter) -> None:
    """Define the function that observed assertions call; see `python.observing`."""

    def see(test: str, index: int, actual: Callable[[], Any], check: Callable[[Any], Any]) -> None:
        call = ""
        try:
            value = actual()
            if isinstance(value, types.CoroutineType):
                import asyncio

                call, value = "asyncio.run", asyncio.run(value)
            elif isinstance(value, (types.GeneratorType, map, filter, zip)):
                call, value = "list", list(value)
        except Exception as error:
            observation = {
                "raised": _exception_name(error, source),
                "plausible": _is_plausible(error, source),
            }
        else:
            observation = {"right": _is_right(check, value), **_description(value)}
            # Where a folder is differs between people.
            if any(folder in str(observation["value"]) for folder in (root, "/private")):
                observation["has_literal"] = False
        reporter.send("seen", test, index, {"call": call, **observation})

    builtins.__starcoder_see__ = see  # type: ignore[attr-defined]


def _is_plausible(error: BaseException, source: str) -> bool:
    """Return whether an exception of a call may be what the subject is meant to do.

    It is not if the subject's file was not reached. A wrong type or a missing attribute counts only
    if the file raises it itself: usually the test has passed a wrong argument.
    """
    trace, was_reached, is_source, name, line = error.__traceback__, False, False, "", 0
    while trace is not None:
        name, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        is_source = os.path.realpath(name) == source
        was_reached = was_reached or is_source
        trace = trace.tb_next
    if isinstance(error, (TypeError, AttributeError)):
        return is_source and linecache.getline(name, line).strip().startswith("raise")
    return was_reached


def _is_right(check: Callable[[Any], Any], value: Any) -> bool:
    try:
        return bool(check(value))
    except Exception:
        return False


def _exception_name(error: BaseException, source: str) -> str:
    """Return the name of an exception that is built in or that the source file can name.

    For others the module is before the name.
    """
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ == "builtins":
        return name
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if getattr(module, name, None) is kind and file and os.path.realpath(file) == source:
            return name
    return kind.__module__ + "." + name


def _description(value: Any) -> dict[str, Any]:
    text = repr(value)
    has_literal = False
    if len(text) <= _MAX_REPR:
        import ast

        try:
            is_calls = type(value).__name__ == "_CallList"  # what a fake was called with
            has_literal = _is_same(_calls(text) if is_calls else ast.literal_eval(text), value)
        except Exception:
            has_literal = False
    kind = type(value).__name__
    return {"value": text[:_MAX_REPR], "has_literal": has_literal, "kind": kind}


def _calls(text: str) -> Any:
    """Return the calls of a mock that a text shows, if their arguments have literals."""
    from unittest import mock

    return mock._CallList(eval(text, {"__builtins__": {}, "call": mock.call}))


def _is_same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


if __name__ == "__main__":
    main()

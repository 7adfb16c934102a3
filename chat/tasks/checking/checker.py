"""Runs candidates, keeps those that pass, and finds out which mutations they detect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from chat.tasks.checking.choosing import MAX_TESTS, choose_tests
from chat.tasks.checking.elsewhere import changes_by_itself, without_folders
from chat.tasks.checking.runner import MARK, Job, Run, Runner
from chat.tasks.dialects.base import GeneratedTests, Snippet
from chat.tasks.summary import Summary
from syntax.mutations import find_mutations

MAX_MUTATIONS = 12
_ENOUGH = 0.9
"""Share of the mutations that are detected when no further tests are needed."""


@dataclass(frozen=True, slots=True)
class CheckedTests:
    """Tests that passed twice."""

    tests: GeneratedTests
    summary: Summary


class Checker:
    """Collects the tests of one function that pass. All methods block."""

    def __init__(
        self,
        runner: Runner,
        job: Job,
        on_stage: Callable[[str], None],
        max_tests: int = MAX_TESTS,
        preferred: Collection[str] = (),
    ) -> None:
        """Create a checker that chooses at most `max_tests`, first those named in `preferred`."""
        self._runner, self._job, self._on_stage = runner, job, on_stage
        self._max_tests, self._preferred = max_tests, preferred
        symbol = job.subject.symbol
        self._mutations = find_mutations(
            job.subject.text, job.subject.language, symbol.start, symbol.end, MAX_MUTATIONS
        )
        self._pool = GeneratedTests((), (), ())
        self._failed = GeneratedTests((), (), ())
        """The last candidates of which none passed."""
        self._detected: dict[str, frozenset[int]] = {}
        self._covered: dict[str, frozenset[int]] = {}
        self._first = Run()
        self.problem = ""
        """Why the last candidates could not be run, empty if they could."""
        self.num_failed = 0
        """Number of candidates that did not pass."""
        self.num_unstable = 0
        """Number of candidates that pass only now, or only on this machine."""

    @property
    def _numbers(self) -> range:
        """The numbers of all mutations."""
        return range(len(self._mutations))

    @property
    def names(self) -> frozenset[str]:
        """The names of the tests and helpers that were kept."""
        return frozenset(each.name for each in (*self._pool.tests, *self._pool.helpers))

    @property
    def is_enough(self) -> bool:
        """Whether the tests that were kept detect nearly all mutations."""
        if not self._pool.tests:
            return False
        return len(self._all_detected()) >= _ENOUGH * len(self._mutations)

    def add(self, candidates: GeneratedTests) -> None:
        """Correct the expected values of candidates, and keep those that pass.

        Raises CannotRunError if nothing can be run, and CancelledError.
        """
        self._on_stage(_counted("running", candidates))
        num_kept = len(self._pool.tests)
        repaired = candidates
        if not changes_by_itself(self._job.subject):
            repaired = self._runner.repair(self._job, candidates)
        self._keep_passing(repaired, self._numbers)
        self.num_failed += len(candidates.tests) - (len(self._pool.tests) - num_kept)
        if not self._pool.tests:
            self._failed = candidates

    def add_probes(self, *, without_tests: bool = False) -> None:
        """Try other arguments, if mutations are left that no test detects.

        If no test passes, this is only done with `without_tests`.
        """
        if changes_by_itself(self._job.subject):
            self.num_unstable += 1
        elif not self.is_enough and (self._pool.tests or without_tests):
            self._on_stage("trying other arguments")
            tests = self._pool if self._pool.tests else self._failed
            numbers: Sequence[int] = self._numbers
            if not self._runner.is_fast:
                numbers = [i for i in numbers if i not in self._all_detected()]
            self._keep_passing(self._runner.probe(self._job, tests), numbers)

    def result(self) -> CheckedTests | None:
        """Return the chosen tests, None if none passes.

        They are run together once more, so that a test whose result changes is left out.
        """
        tests = self._pool.tests
        chosen = choose_tests(
            tests, self._detected, self._covered, MARK, self._max_tests, self._preferred
        )
        if not chosen:
            return None
        kept = replace(self._pool, tests=chosen, helpers=_used(self._pool.helpers, chosen))
        self._on_stage(_counted("checking", kept))
        (run,) = self._runner.run(self._job, kept, [None])
        if any(test.name not in run.passed for test in chosen):
            return self._without(chosen, run)
        detected = self._all_detected(chosen)
        return CheckedTests(
            kept,
            Summary(
                num_tests=len(chosen),
                num_mutations=len(self._mutations),
                num_detected=len(detected),
                num_lines=len(run.lines),
                num_covered=len(frozenset[int]().union(*run.covered.values())),
                num_marked=sum(test.text.count(MARK) for test in chosen),
            ),
        )

    def _without(self, chosen: Sequence[Snippet], run: Run) -> CheckedTests | None:
        """Return the result without tests that fail next to the others."""
        failing = {test.name for test in chosen} - run.passed
        remaining = tuple(test for test in self._pool.tests if test.name not in failing)
        self._pool = replace(self._pool, tests=remaining)
        for name in failing:
            del self._detected[name]
        return self.result()

    def _keep_passing(self, candidates: GeneratedTests, numbers: Sequence[int]) -> None:
        """Keep the candidates that pass, and run them with the mutations of some numbers."""
        if not candidates.tests:
            return
        mutations = [self._mutations[number] for number in numbers]
        run, *mutated = self._runner.run(self._job, candidates, [None, *mutations])
        self.problem = "" if run.passed or run.failed else run.problem
        passing = tuple(test for test in candidates.tests if test.name in run.passed)
        num_passing = len(passing)
        passing = without_folders(passing, self._job.subject)
        stable = self._runner.stable(self._job, replace(candidates, tests=passing))
        self.num_unstable += num_passing - len(stable)
        passing = tuple(test for test in passing if test.name in stable)
        for test in passing:
            runs = zip(numbers, mutated, strict=True)
            self._detected[test.name] = frozenset(i for i, each in runs if test.name in each.failed)
            self._covered[test.name] = run.covered.get(test.name, frozenset())
        if run.lines:  # a coroutine that nobody awaits, for example, shows nothing
            shown = (
                test for test in passing if self._detected[test.name] | self._covered[test.name]
            )
            passing = tuple(shown)
        self._pool = self._pool.merged(replace(candidates, tests=passing))

    def _all_detected(self, tests: Sequence[Snippet] | None = None) -> frozenset[int]:
        names = self._detected if tests is None else [test.name for test in tests]
        return frozenset[int]().union(*(self._detected[name] for name in names))


def _used(helpers: Sequence[Snippet], tests: Sequence[Snippet]) -> tuple[Snippet, ...]:
    """Return the helpers whose name occurs in tests or in other helpers that are used."""
    used: list[Snippet] = []
    text = "\n".join(test.text for test in tests)
    for helper in reversed(helpers):
        if helper.name in text:
            used.append(helper)
            text += helper.text
    return tuple(helper for helper in helpers if helper in used)


def _counted(activity: str, tests: GeneratedTests) -> str:
    count = len(tests.tests)
    return f"{activity} 1 test" if count == 1 else f"{activity} {count} tests"

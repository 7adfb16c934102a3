"""Jobs start in the order of their priority, and only a limited number of them runs."""

import pytest

from engine.api import GenerationRequest, Priority
from engine.scheduling.fairness import RecentService
from engine.scheduling.job import EndOfStream, Job, JobEvent
from engine.scheduling.waiting_jobs import WaitingJobs

MANY = 99
"""A number of free KV caches that limits nothing."""


def ignore(event: JobEvent) -> None:
    """Drop an event."""


def waiting_jobs(*priorities: Priority, on_cpu: bool = False) -> WaitingJobs:
    jobs = WaitingJobs(on_cpu=on_cpu)
    for number, priority in enumerate(priorities):
        jobs.submit(Job(GenerationRequest((1,), 1, priority=priority), ignore, number))
    jobs.admit(is_idle=False, prepare=lambda: False)
    return jobs


def start_all(jobs: WaitingJobs) -> list[Job]:
    """Start jobs until none may start any more."""
    started: list[Job] = []
    service = RecentService()
    while (job := jobs.take_next([each.work for each in started], service, MANY)) is not None:
        started.append(job)
    return started


@pytest.mark.parametrize(
    ("priority", "on_cpu", "limit"),
    [
        (Priority.COMPLETION, False, 16),
        (Priority.COMPLETION, True, 4),
        (Priority.CHAT, False, 4),
        (Priority.CHAT, True, 4),
        (Priority.PREFETCH, True, 2),
    ],
)
def test_no_more_jobs_start_than_may_run_together(
    priority: Priority, on_cpu: bool, limit: int
) -> None:
    jobs = waiting_jobs(*[priority] * 20, on_cpu=on_cpu)
    assert len(start_all(jobs)) == limit
    assert len(jobs) == 20 - limit


def test_the_newest_completion_starts_first_and_other_jobs_start_in_order_of_arrival() -> None:
    completion, chat = Priority.COMPLETION, Priority.CHAT
    jobs = waiting_jobs(chat, completion, Priority.PREFETCH, completion, chat)
    assert [job.number for job in start_all(jobs)] == [3, 1, 0, 4, 2]


def test_a_job_that_may_not_start_does_not_stop_later_ones() -> None:
    jobs = waiting_jobs(*[Priority.COMPLETION] * 17, Priority.CHAT)
    assert start_all(jobs)[-1].priority is Priority.CHAT


def test_the_further_sequences_of_one_user_take_no_place_of_others() -> None:
    """Three sequences of a flood are one place less for the others, not three."""
    jobs, service = WaitingJobs(on_cpu=True), RecentService()
    for number, user in enumerate(["flood"] * 8 + ["a", "b", "c", "d"]):
        jobs.submit(Job(GenerationRequest((1,), 1, user=user), ignore, number))
    jobs.admit(is_idle=False, prepare=lambda: False)
    flood = [("flood", Priority.COMPLETION)] * 3
    started = []
    while (job := jobs.take_next([*flood, *started], service, MANY)) is not None:
        started.append(job.work)
    assert sorted(user for user, _ in started) == ["b", "c", "d"]  # the newest first


def test_dropping_all_jobs_includes_those_that_are_not_admitted() -> None:
    jobs, events = WaitingJobs(on_cpu=True), list[JobEvent]()
    jobs.submit(Job(GenerationRequest((1,), 1), events.append, 0))
    jobs.drop(cancelled_only=True)
    assert events == []
    jobs.drop(cancelled_only=False)
    assert events == [EndOfStream()]

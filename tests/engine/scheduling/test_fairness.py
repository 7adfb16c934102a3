"""Users share the engine: who has had less of it goes first, and nobody can use all places."""

from collections import Counter
from typing import Any

import pytest

from benchmarks.stepped_scheduler import SteppedScheduler
from engine.api import GenerationRequest, Priority, Progress
from engine.kv_cache.arena import Arena
from engine.loading.load import Loaded
from engine.network.lean_forward import LeanForward
from engine.network.step_costs import StepCosts
from engine.scheduling.fairness import RecentService, UserWork, may_start, may_take_cache
from engine.scheduling.job import Job
from engine.scheduling.policy import (
    HeavyTurn,
    HeavyTurns,
    PrefillChunk,
    RunningSequence,
    StepPlan,
    max_step_tokens,
    select_next_step,
)
from engine.scheduling.waiting_jobs import WaitingJobs
from tests.engine.costs import FixedCosts
from tests.engine.scheduling.harness import check, ids, stepped

COMPLETION, CHAT, PREFETCH = Priority.COMPLETION, Priority.CHAT, Priority.PREFETCH
ALICE, BOB = ("alice", COMPLETION), ("bob", COMPLETION)
MANY = 99
"""A number of free KV caches that limits nothing."""
NEVER = HeavyTurn(decodes=False, prefills=False)
DEAR = FixedCosts({1: 10.0, 2: 20.0, 512: 5120.0})
"""Each row costs as much as the first."""
CHEAP = FixedCosts({1: 10.0, 512: 10.1})


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def running(
    user: str,
    number: int = 0,
    num_left: int = 1,
    *,
    priority: Priority = COMPLETION,
    service_ms: float = 0.0,
    is_heavy: bool = False,
    waited_s: float = 0.0,
) -> RunningSequence:
    return RunningSequence(priority, number, waited_s, num_left, user, service_ms, is_heavy)


def test_service_is_forgotten() -> None:
    clock = Clock()
    service = RecentService(clock)
    service.add(ALICE, 1000.0)
    assert service.milliseconds(ALICE) == 1000.0
    assert service.milliseconds(BOB) == 0.0
    clock.now += 10.0
    assert service.milliseconds(ALICE) == pytest.approx(1000.0 / 2.718, rel=0.01)
    service.add(ALICE, 100.0)
    assert service.milliseconds(ALICE) == pytest.approx(467.9, rel=0.01)


def heavy_after(**milliseconds: float) -> set[str]:
    service = RecentService(Clock())
    for user, value in milliseconds.items():
        service.add((user, COMPLETION), value)
    return {user for user, _ in service.heavy()}


def test_who_has_had_much_more_than_another_one_is_heavy() -> None:
    assert heavy_after(alice=5000.0) == set()
    assert heavy_after(alice=5000.0, bob=10.0) == {"alice"}
    assert heavy_after(alice=900.0, bob=10.0) == set()
    assert heavy_after(alice=5000.0, bob=4500.0) == set()
    assert heavy_after(alice=1900.0, bob=1900.0, carol=10.0) == set()  # no more than a fair part


def test_a_user_who_chats_much_is_not_slower_at_typing() -> None:
    service = RecentService(Clock())
    service.add(("alice", CHAT), 9000.0)
    service.add(ALICE, 10.0)
    service.add(BOB, 10.0)
    assert service.heavy() == frozenset()


def test_nobody_is_heavy_any_more_after_a_while() -> None:
    clock = Clock()
    service = RecentService(clock)
    service.add(ALICE, 5000.0)
    service.add(BOB, 10.0)
    assert service.heavy() == {ALICE}
    clock.now += 11.0
    assert service.heavy() == frozenset()
    assert service.milliseconds(ALICE) == 0.0  # and nothing is kept for users who have gone


def test_who_is_heavy_is_found_out_again_after_a_moment() -> None:
    """Each step asks, and most steps take less time than a comparison of many users."""
    clock = Clock()
    service = RecentService(clock)
    service.add(BOB, 10.0)
    assert service.heavy() == frozenset()
    service.add(ALICE, 5000.0)
    assert service.heavy() == frozenset()
    clock.now += 0.1
    assert service.heavy() == {ALICE}


@pytest.mark.parametrize(
    ("user", "num_of_user", "num_free", "expected"),
    [
        ("", 15, 1, True),
        ("", 16, 0, False),
        ("alice", 0, 1, True),
        ("alice", 0, 0, False),
        ("alice", 10, 6, True),
        ("alice", 11, 5, False),
        ("alice", 12, 6, False),
    ],
)
def test_a_user_with_a_name_leaves_places_free(
    user: str, num_of_user: int, num_free: int, expected: bool
) -> None:
    assert may_start(user, num_of_user, num_free) is expected


@pytest.mark.parametrize(
    ("work", "running", "num_free", "expected"),
    [
        (("", COMPLETION), [("", COMPLETION)], 1, True),
        (("", CHAT), [("", CHAT)], 1, True),
        (("", CHAT), [("", CHAT)], 0, False),
        (ALICE, [], 1, True),
        (ALICE, [ALICE], 1, False),  # it is for a user who has none
        (ALICE, [BOB, BOB], 1, True),
        (ALICE, [("alice", CHAT)], 1, True),  # a chat does not slow down its user's typing
        (ALICE, [ALICE] * 3, 2, True),
        (ALICE, [ALICE] * 4, 2, False),
        (("alice", CHAT), [], 1, True),
        (("alice", CHAT), [ALICE, BOB], 1, True),
        (("alice", CHAT), [("bob", CHAT)], 1, False),  # completions would wait for both
        (("alice", CHAT), [("bob", PREFETCH)], 1, False),
        (("alice", PREFETCH), [("bob", CHAT)], 1, False),
        (("alice", CHAT), [("bob", CHAT)], 2, True),
    ],
)
def test_the_last_kv_cache_is_for_a_user_who_has_none(
    work: UserWork, running: list[UserWork], num_free: int, expected: bool
) -> None:
    assert may_take_cache(work, running, num_free) is expected


def start_all(users: list[str], service: RecentService, priority: Priority) -> list[Job]:
    jobs = WaitingJobs(on_cpu=False)
    for number, user in enumerate(users):
        request = GenerationRequest((1,), 1, priority=priority, user=user)
        jobs.submit(Job(request, lambda _: None, number))
    jobs.admit(is_idle=False, prepare=lambda: False)
    started: list[Job] = []
    while (job := jobs.take_next([each.work for each in started], service, MANY)) is not None:
        started.append(job)
    return started


@pytest.mark.parametrize(("priority", "most"), [(COMPLETION, 11), (CHAT, 3)])
def test_a_flooding_user_leaves_places_for_others(priority: Priority, most: int) -> None:
    service = RecentService(Clock())
    assert len(start_all(["flood"] * 64, service, priority)) == most
    started = start_all(["flood"] * 64 + ["alice"], service, priority)
    assert Counter(job.user for job in started)["alice"] == 1


@pytest.mark.parametrize("priority", [COMPLETION, CHAT])
def test_who_has_had_less_service_starts_first(priority: Priority) -> None:
    service = RecentService(Clock())
    service.add(("alice", priority), 2.0)
    service.add(("bob", priority), 1.0)
    started = start_all(["alice", "bob", "alice"], service, priority)
    numbers = [job.number for job in started]
    assert numbers == ([1, 2, 0] if priority is COMPLETION else [1, 0, 2])


def test_a_completion_starts_before_a_chat_of_a_user_with_less_service() -> None:
    service = RecentService(Clock())
    service.add(ALICE, 5000.0)
    jobs = WaitingJobs(on_cpu=False)
    chat = GenerationRequest((1,), 1, priority=CHAT, user="bob")
    jobs.submit(Job(chat, lambda _: None, 0))
    jobs.submit(Job(GenerationRequest((1,), 1, user="alice"), lambda _: None, 1))
    jobs.admit(is_idle=False, prepare=lambda: False)
    job = jobs.take_next([], service, MANY)
    assert job is not None
    assert job.user == "alice"


def test_each_user_has_one_sequence_in_a_step() -> None:
    sequences = [running("flood", number) for number in range(5)] + [running("alice", 9)]
    plan = select_next_step(sequences, 16, DEAR, is_chat_turn=False)
    assert {sequences[index].user for index in plan.decode_batch} == {"flood", "alice"}
    assert len(plan.decode_batch) == 2
    plan = select_next_step(sequences, 16, CHEAP, is_chat_turn=False)
    assert len(plan.decode_batch) == 6  # the others cost nothing


def test_one_user_alone_has_all_sequences_in_a_step() -> None:
    for user in ("", "flood"):
        sequences = [running(user, number) for number in range(6)]
        plan = select_next_step(sequences, 16, DEAR, is_chat_turn=False)
        assert len(plan.decode_batch) == 6


def test_a_heavy_user_decodes_in_some_steps_only() -> None:
    sequences = [running("flood", 0, is_heavy=True), running("alice", 1)]
    plan = select_next_step(sequences, 16, DEAR, is_chat_turn=False, heavy=NEVER)
    assert plan.decode_batch == (1,)
    plan = select_next_step(sequences, 16, CHEAP, is_chat_turn=False, heavy=NEVER)
    assert len(plan.decode_batch) == 2
    alone = [running("flood", 0, is_heavy=True), running("alice", 1, 400)]
    plan = select_next_step(alone, 64, DEAR, is_chat_turn=False, heavy=NEVER)
    assert plan == StepPlan((0,), PrefillChunk(1, 63))


def test_the_prompt_of_the_user_with_less_service_comes_first() -> None:
    late = running("flood", 0, 400, service_ms=20.0, waited_s=5.0)
    sequences = [late, running("alice", 1, 400, service_ms=10.0)]
    plan = select_next_step(sequences, 64, DEAR, is_chat_turn=False)
    assert plan.prefill_chunk == PrefillChunk(1, 64)


def test_prompts_of_a_heavy_user_wait_for_their_turn() -> None:
    sequences = [running("flood", 0, 400, is_heavy=True), running("alice", 1)]
    plan = select_next_step(sequences, 64, DEAR, is_chat_turn=False, heavy=NEVER)
    assert plan == StepPlan((1,), None)
    plan = select_next_step(sequences[:1], 64, DEAR, is_chat_turn=False, heavy=NEVER)
    assert plan.prefill_chunk == PrefillChunk(0, 64)  # nobody else has work


def test_a_heavy_user_gets_a_share_of_the_time() -> None:
    sequences = [running("flood", 0, 40, is_heavy=True), running("alice", 1)]
    costs, turns = FixedCosts({1: 1.0, 16: 2.0}), HeavyTurns()
    prefills, decodes = [], []
    for _ in range(64):
        turn = turns.next_turn(sequences, 16, costs)
        plan = select_next_step(sequences, 16, costs, is_chat_turn=False, heavy=turn)
        turns.record(sequences, plan)
        prefills.append(plan.prefill_chunk is not None)
        decodes.append(turn.decodes)
    assert sum(prefills) == 4  # 2 ms of every 16 ms
    assert sum(decodes) == 16


def test_prompts_of_heavy_users_are_computed_in_small_chunks() -> None:
    costs = FixedCosts({1: 1.0, 512: 512.0})
    heavy, light = running("flood", 0, 400, is_heavy=True), running("alice", 1, 400)
    assert max_step_tokens([heavy], costs) == 16
    assert max_step_tokens([light], costs) == 250
    assert max_step_tokens([heavy, light], costs) == 25


def test_a_chat_of_another_user_is_prefilled_in_the_turns_of_chats() -> None:
    typing = running("alice", 0, 400)
    chat = running("bob", 1, 400, priority=CHAT)
    own = running("alice", 2, 400, priority=CHAT)
    plan = select_next_step([typing, chat], 64, DEAR, is_chat_turn=True)
    assert plan.prefill_chunk == PrefillChunk(1, 64)
    plan = select_next_step([typing, chat], 64, DEAR, is_chat_turn=False)
    assert plan.prefill_chunk == PrefillChunk(0, 64)
    plan = select_next_step([typing, own], 64, DEAR, is_chat_turn=True)
    assert plan.prefill_chunk == PrefillChunk(0, 64)


def test_a_flood_changes_no_output_and_everything_ends(loaded: Loaded) -> None:
    scheduler = stepped(loaded, costs=FixedCosts({1: 10.0, 2: 20.0, 512: 5120.0}))
    flood = [
        scheduler.submit(GenerationRequest(ids(seed, 60 + seed), 8, user="flood"))
        for seed in range(20)
    ]
    for _ in range(6):
        scheduler.step()
    quick = scheduler.submit(GenerationRequest(ids(99, 30), 8, user="alice"))
    chat = scheduler.submit(GenerationRequest(ids(98, 80), 8, priority=CHAT, user="bob"))
    num_steps = 0
    while not quick.done:
        scheduler.step()
        num_steps += 1
    assert num_steps <= 20
    assert sum(each.done for each in flood) < 10
    scheduler.finish()
    for submission in (quick, chat, *flood[::5]):
        check(loaded, submission)


def with_arena(loaded: Loaded, num_slots: int) -> SteppedScheduler:
    assert isinstance(loaded.model.forward, LeanForward)
    weights, arena = loaded.model.forward.weights, Arena(loaded.model.cache_shape, num_slots)
    return stepped(loaded, arena=arena, forward=LeanForward(weights, None, arena))


@pytest.mark.parametrize("priority", [COMPLETION, CHAT])
@pytest.mark.parametrize("num_slots", [2, 3, 5])
def test_a_flooding_user_leaves_a_kv_cache_for_others(
    loaded: Loaded, num_slots: int, priority: Priority
) -> None:
    """As on a GPU, where their number is fixed."""
    scheduler = with_arena(loaded, num_slots)
    flood = [
        scheduler.submit(GenerationRequest(ids(seed, 40), 300, priority=priority, user="flood"))
        for seed in range(8)
    ]
    for _ in range(20):
        scheduler.step()
    # Of the four places that a CPU has, one stays free for others too.
    assert scheduler.metrics.requests_running == min(3, num_slots - 1)
    quick = scheduler.submit(GenerationRequest(ids(99, 30), 8, user="alice"))
    for _ in range(40):
        scheduler.step()
    assert quick.done
    assert not any(each.done for each in flood)
    check(loaded, quick)
    for each in flood:
        each.job.cancelled.set()
    scheduler.finish()


def test_one_kv_cache_is_enough_for_all(loaded: Loaded) -> None:
    scheduler = with_arena(loaded, 1)
    submissions = [
        scheduler.submit(GenerationRequest(ids(number, 40), 4, priority=priority, user=user))
        for number, (user, priority) in enumerate([ALICE, BOB, ALICE, ("bob", CHAT), ALICE])
    ]
    scheduler.finish()
    for submission in submissions:
        check(loaded, submission)


def test_a_prompt_is_counted_when_its_step_begins(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that hangs up during the first step has cost what the step computes."""
    scheduler = stepped(loaded, costs=StepCosts())
    progress = Progress(40)
    seen: list[int] = []
    forward = scheduler.scheduler._forward

    def forward_and_look(*args: Any) -> Any:
        seen.append(progress.prompt_tokens)
        return forward(*args)

    monkeypatch.setattr(scheduler.scheduler, "_forward", forward_and_look)
    scheduler.run(GenerationRequest(ids(3, 40), 3, progress=progress))
    assert seen[0] > 0
    assert max(seen) == 40
    assert progress.prompt_tokens == 40


def test_progress_is_recorded_while_a_request_runs(loaded: Loaded) -> None:
    scheduler = stepped(loaded, costs=StepCosts())
    progress = Progress(40)
    request = GenerationRequest(ids(1, 40), 10, progress=progress)
    submission = scheduler.submit(request)
    assert progress.started is None
    assert progress.prompt_tokens == 0
    for _ in range(4):
        scheduler.step()
    assert progress.started is not None
    assert progress.prompt_tokens == 40
    assert 0 < progress.completion_tokens < 10
    submission.job.cancelled.set()
    scheduler.submit(GenerationRequest(ids(1, 40), 1))
    scheduler.finish()
    assert progress.completion_tokens < 10
    again = Progress(40)
    scheduler.run(GenerationRequest(ids(1, 40), 2, progress=again))
    assert again.reused_rows == 39

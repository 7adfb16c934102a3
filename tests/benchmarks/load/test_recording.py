"""Recorded typing: what the completer asks of a real engine, and the same after saving it."""

from pathlib import Path

from benchmarks.load.recording import load, pauses, record, salt, save
from engine.api import Priority
from engine.local import LocalEngine
from engine.settings import EngineSettings
from fim.evaluation.counts import Passage
from fim.evaluation.files import File

TEXT = '''"""Numbers."""


def mean(numbers: list[float]) -> float:
    """Return the mean of numbers."""
    total = 0.0
    for number in numbers:
        total += number
    return total / len(numbers)
'''


async def test_a_session_is_what_the_completer_asks_of_the_engine(tmp_path: Path) -> None:
    start = TEXT.index("    total = 0.0")
    end = TEXT.index("        total +=")
    passages = [
        Passage(File(f"{name}.py", "python", TEXT), start, end) for name in ("first", "second")
    ]
    engine = LocalEngine(EngineSettings(model="demo", device="cpu"))
    try:
        recording = await record(engine, passages, per_session=1)
        special = set((await engine.tokenizer()).special_tokens.values())
    finally:
        await engine.aclose()
    assert len(recording.sessions) == 2
    for session in recording.sessions:
        times = [each.seconds for each in session.requests]
        assert times == sorted(times)
        assert session.seconds > 0.1 * session.keys  # with the pauses that were skipped
        assert 2 < len(session.requests) <= 2 * session.keys
        for each in session.requests:
            assert each.salt_at is not None
            assert special.isdisjoint(each.request.prompt[each.salt_at : each.salt_at + 3])
            assert special & set(each.request.prompt[: each.salt_at])  # they begin with a marker
    requests = [each.request for session in recording.sessions for each in session.requests]
    completions = [each for each in requests if each.priority is Priority.COMPLETION]
    # The completer reads much less than it allows: 64 tokens for a line.
    assert sum(each.max_new_tokens for each in completions) < 32 * len(completions)
    assert {each.forced_prefix for each in requests} - {""} == set(recording.forced)
    assert special.isdisjoint(recording.alphabet)
    file = tmp_path / "folder" / "sessions.json"
    save(recording, file)
    assert load(file) == recording
    salts = {salt(recording, number) for number in range(500)}
    assert len(salts) == 500


def test_pauses_are_those_of_typing_and_of_looking() -> None:
    rhythm = pauses(0)
    drawn = [next(rhythm) for _ in range(1000)]
    long = [pause for pause in drawn if pause > 1.2]
    assert 20 <= len(long) <= 110  # bursts have 10 to 40 keys
    assert 0.12 < sorted(drawn)[500] < 0.18

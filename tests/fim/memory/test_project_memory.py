"""Passages are current text of the project, wherever the last build was."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fim.memory.passages import MAX_AFTER, MAX_AFTER_LINES, MAX_BEFORE, MIN_MATCH
from fim.memory.project_memory import ProjectMemory
from fim.memory.segments import with_line_feeds
from fim.memory.suffix_index import SuffixIndex
from fim.snapshot import Passage

BREAD = "def bake(flour, water):\n    dough = knead(flour, water)\n    return oven(dough)\n"
TYPED = "x = 1\n    dough = kne"


def passages(memory: ProjectMemory, typed: str = TYPED) -> tuple[Passage, ...]:
    return memory.passages("typed.py", typed, len(typed))


def built(**texts: str) -> ProjectMemory:
    memory = ProjectMemory()
    for key, text in texts.items():
        memory.put(key, text)
    memory.build()
    return memory


def test_a_passage_begins_at_a_line_start_and_continues_at_the_place() -> None:
    (passage,) = passages(built(bread=BREAD))
    assert passage == Passage(
        before="def bake(flour, water):\n    dough = kne",
        after="ad(flour, water)\n    return oven(dough)\n",
        match_length=len("\n    dough = kne"),
    )


def test_long_text_around_a_place_is_cut() -> None:
    lines = "".join(f"line number {number}\n" for number in range(100))
    (passage,) = passages(built(a=lines + "call(kneading)\n" + lines), "call(kne")
    assert passage.before == "line number 98\nline number 99\ncall(kne"
    assert passage.after == "ading)\nline number 0\nline number 1\nline number 2\n"
    wide = "word " * 200
    (passage,) = passages(built(a=f"{wide}call(kneading){wide}"), "call(kne")
    assert (len(passage.before), len(passage.after)) == (MAX_BEFORE, MAX_AFTER)
    assert passage.after.count("\n") < MAX_AFTER_LINES


def test_equal_passages_are_merged_and_the_longest_match_comes_first() -> None:
    memory = built(a="x = 1\n" + BREAD, b="y = 2\n" + BREAD, c="z =    dough = knelt\n")
    first, second = passages(memory)
    assert (first.count, second.count) == (2, 1)
    assert first.match_length > second.match_length
    assert second.after == "lt\n"


def test_among_equal_matches_the_nearest_place_of_the_document_comes_first() -> None:
    text = "call(one)\n" + "pad\n" * 99 + "call(two)\n" + "pad\n" * 5
    memory = built(**{"other.py": "call(three)\n", "typed.py": text})
    matches = memory.passages("typed.py", text + "call(", len(text) + 5)
    assert [passage.after[:3] for passage in matches] == ["two", "one", "thr"]


def test_the_place_at_the_cursor_is_none_and_a_passage_ends_before_it() -> None:
    memory = built(**{"typed.py": TYPED + "ad(1)\n"})
    assert memory.passages("typed.py", TYPED + "ad(1)\n", len(TYPED)) == ()
    repeated = "push(a)\npush(b)\npush("
    memory = built(**{"typed.py": repeated})
    matches = memory.passages("typed.py", repeated, len(repeated))
    assert {passage.after for passage in matches} == {"a)\npush(b)\npush(", "b)\npush("}
    line = "=" * 60
    memory = built(**{"typed.py": line})
    for passage in memory.passages("typed.py", line, 30):
        assert MIN_MATCH <= passage.match_length <= 30


def test_a_stale_index_finds_only_what_the_text_still_contains() -> None:
    memory = built(bread=BREAD)
    memory.put("bread", "# new line\n" + BREAD)
    assert [each.after for each in passages(memory)] == [
        "ad(flour, water)\n    return oven(dough)\n"
    ]
    memory.put("bread", BREAD.replace("water)\n    return", "salt)\n    return"))
    assert [each.after for each in passages(memory)] == ["ad(flour, "]
    memory.put("bread", BREAD.replace("def bake(flour, water)", "def fry()"))
    assert [each.before for each in passages(memory)] == ["    dough = kne"]
    memory.put("bread", BREAD.replace("knead", "mix"))
    assert passages(memory) == ()
    memory.build()
    assert "ad(" not in str(passages(memory))


def test_a_match_is_as_long_as_the_current_text_says() -> None:
    text = "def bake(flour, water, yeast, salt, sugar, milk, butter):\n    dough = knead(flour)\n"
    memory = built(bread=text)
    typed = text[: text.index("ad(")]
    assert [each.match_length for each in passages(memory, typed)] == [len(typed)]
    memory.put("bread", text.replace("flour, water", "flour"))
    (passage,) = passages(memory, typed)
    assert (passage.before, passage.after) == ("    dough = kne", "ad(flour)\n")
    assert passage.match_length == len(typed) - len("def bake(flour, wate")


def test_forgotten_text_is_not_found_also_when_it_is_forgotten_during_a_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = built(bread=BREAD, other="unrelated = 1\n" * 20)
    memory.forget("bread")
    assert passages(memory) == ()
    memory.put("bread", BREAD)
    real = threading.Event()

    def forget(text: str) -> str:
        memory.forget("bread")
        real.set()
        return text

    monkeypatch.setattr("fim.memory.project_memory.mask", forget)
    memory.build()
    assert real.is_set()
    assert passages(memory) == ()


def test_an_unchanged_text_forgotten_while_segments_are_merged_stays_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = built(bread=BREAD)

    def forget(texts: list[str]) -> SuffixIndex:
        memory.forget("bread")
        return SuffixIndex(texts)

    monkeypatch.setattr("fim.memory.project_memory.SuffixIndex", forget)
    memory.put("other", BREAD.replace("dough", "paste"))
    memory.build()
    assert "dough = kne" not in str(passages(memory))
    assert memory.num_characters == len(BREAD)


def test_a_text_that_changes_during_a_build_is_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = built(bread=BREAD)

    def change(text: str) -> str:
        memory.put("bread", "gone = 1\n")
        return text

    memory.put("bread", BREAD + "# edited\n")
    with monkeypatch.context() as patch:
        patch.setattr("fim.memory.project_memory.mask", change)
        memory.build()
    assert passages(memory) == ()
    assert memory.needs_build
    memory.build()
    assert passages(memory) == ()
    assert memory.num_characters == len("gone = 1\n")


def test_the_space_of_forgotten_text_is_freed() -> None:
    memory = ProjectMemory()
    for number in range(50):
        memory.put(f"{number}", f"value_{number} = {number}\n" * 100)
    memory.build()
    size = memory.num_memory_bytes
    for number in range(40):
        memory.forget(f"{number}")
    assert memory.needs_build
    memory.build()
    assert memory.num_memory_bytes < size / 3
    assert not memory.needs_build


def test_small_changes_do_not_index_everything_again() -> None:
    memory = built(base="value = other_value + 1\n" * 5000)
    (base, *_) = memory._segments
    for number in range(40):
        memory.put("typed", f"line_{number} = 1\n" * 20)
        memory.put(f"new {number}", f"text_{number} = 2\n" * 20)
        memory.build()
    assert memory._segments[0] is base
    assert len(memory._segments) < 8


def test_texts_beyond_the_limit_are_left_out() -> None:
    memory = ProjectMemory(max_characters=200)
    memory.put("a", "x" * 150)
    memory.put("bread", BREAD)
    memory.put("c", "y" * 50)
    memory.build()
    assert memory.num_characters == 200
    assert passages(memory) == ()
    memory.forget("a")
    memory.put("bread", BREAD)
    memory.build()
    assert len(passages(memory)) == 1


@pytest.mark.parametrize("text", ["\0" + BREAD, BREAD + "x" * 2_000_001])
def test_binary_and_huge_texts_are_not_stored(text: str) -> None:
    memory = built(bread=BREAD)
    memory.put("bread", text)
    assert passages(memory) == ()
    assert not memory._changed


def test_line_endings_do_not_matter() -> None:
    memory = built(bread=BREAD.replace("\n", "\r\n"))
    assert passages(memory) == passages(built(bread=BREAD))
    typed = TYPED.replace("\n", "\r\n")
    assert memory.passages("t", typed, len(typed)) == passages(memory)


def test_nothing_crosses_a_key() -> None:
    key = "ghp_" + "aB3dE5gH7j" * 4
    memory = built(keys=f"token = '{key}' + suffix\n", mail="author = 'jane@corp-mail.de'\n")
    for typed in ("token = '", f"token = '{key[:20]}", f"{key}' + su", "author = 'jane@co"):
        for passage in passages(memory, typed):
            assert key[4:10] not in passage.before + passage.after
            assert "jane" not in passage.before + passage.after


ALPHABET = st.sampled_from(["ab\n", "aé\r\n", "😀é\n", "ab\ud800"])
EDIT = st.tuples(st.integers(0, 60), st.integers(0, 8), st.text("abé\n", max_size=4))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_after_any_edits_each_passage_is_current_text(data: st.DataObject) -> None:
    alphabet = data.draw(ALPHABET)
    memory, texts = ProjectMemory(), {}
    for step in range(data.draw(st.integers(1, 6))):
        key = data.draw(st.sampled_from(["typed.py", "b", "c"]))
        start, length, inserted = data.draw(EDIT)
        old = texts.get(key) or data.draw(st.text(alphabet, max_size=60))
        texts[key] = old[:start] + inserted + old[start + length :]
        memory.put(key, texts[key])
        if data.draw(st.booleans()):
            memory.build()
        if step and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(texts)))
            del texts[gone]
            memory.forget(gone)
    own = texts.get("typed.py", "aaaa\nbbb")
    cursor = data.draw(st.integers(0, len(own)))
    context = with_line_feeds(own[:cursor])
    matches = memory.passages("typed.py", own, cursor)
    for passage in matches:
        assert passage.after
        holders = [
            text
            for text in map(with_line_feeds, (*texts.values(), own))
            if passage.before + passage.after in text
        ]
        assert holders
        length = min(passage.match_length, len(passage.before))
        assert passage.match_length >= MIN_MATCH
        assert passage.before[len(passage.before) - length :] == context[len(context) - length :]
    order = [passage.match_length for passage in matches]
    assert order == sorted(order, reverse=True)


def test_a_key_press_in_a_long_document_takes_less_than_a_millisecond() -> None:
    text = "value = other_value + 1\n" * 50_000
    memory = built(typed=text)
    start = time.perf_counter()
    for _ in range(100):
        memory.put("typed", text)
    assert (time.perf_counter() - start) / 100 < 0.001


def test_a_document_with_a_megabyte_on_one_line() -> None:
    memory = built(data="x" * 1_000_000 + "call(kneading)", bread=BREAD)
    assert len(passages(memory)) == 1
    line = "x, " * 400_000 + "dough = kne"
    start = time.perf_counter()
    matches = memory.passages("data", line, len(line))
    assert time.perf_counter() - start < 1.0
    assert matches[0].after.startswith("ad(")

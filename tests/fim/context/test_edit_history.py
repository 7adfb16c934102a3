"""The edits of a text: with what they replaced put back, the text is its first version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim.context.edit_history import EditHistory
from fim.context.line_changes import line_changes

LINES = st.lists(st.sampled_from("abcde"), max_size=12)


def history_of(*versions: str, max_edits: int = 16) -> EditHistory:
    history = EditHistory(versions[0], max_edits)
    for number, version in enumerate(versions[1:], start=1):
        history.update(version, number)
    return history


def changes_of(history: EditHistory) -> list[tuple[str, str]]:
    return [("|".join(each.before), "|".join(history.after(each))) for each in history.edits]


def first_version(history: EditHistory) -> str:
    lines = list(history.lines)
    for edit in reversed(history.edits):
        lines[edit.start : edit.end] = edit.before
    return "\n".join(lines)


@given(LINES, LINES)
def test_changes_lead_from_the_old_lines_to_the_new_ones(old: list[str], new: list[str]) -> None:
    lines = list(old)
    changes = line_changes(old, new)
    for change in reversed(changes):
        lines[change.old_start : change.old_end] = new[change.new_start : change.new_end]
    assert lines == new
    assert sum(change.old_end - change.old_start for change in changes) <= len(old)
    assert (changes == []) == (old == new)


def test_a_large_change_is_not_compared_line_by_line() -> None:
    old = [f"{number} % 7 = {number % 7}" for number in range(4000)]
    new = ["first", *old[1:2000], "middle", *old[2001:-1], "last"]
    (change,) = line_changes(old, new)
    assert (change.old_start, change.old_end, change.new_end) == (0, 4000, 4000)


@given(st.lists(LINES.map("\n".join), min_size=1, max_size=6))
def test_without_its_edits_a_text_is_its_first_version(versions: list[str]) -> None:
    history = history_of(*versions, max_edits=1000)
    assert history.lines == versions[-1].split("\n")
    assert first_version(history) == versions[0]
    for edit, following in zip(history.edits, history.edits[1:], strict=False):
        assert edit.end < following.start
    for edit in history.edits:
        assert edit.before != history.after(edit)


def test_an_edit_grows_with_the_lines_that_touch_it() -> None:
    text = "a\nb\nc\nd\ne\nf\n"
    history = history_of(
        text, text.replace("b", "B"), text.replace("b\nc", "B\nC"), text.replace("b\nc", "x\ny\nC")
    )
    assert changes_of(history) == [("b|c", "x|y|C")]


def test_edits_that_are_apart_keep_their_places() -> None:
    lines = list("abcdefghij")
    later = [*lines[:1], "new", *lines[1:7], "H", *lines[8:]]
    first, last = "\n".join(lines), "\n".join(later)
    history = history_of(first, first.replace("h", "H"), last)
    assert changes_of(history) == [("", "new"), ("h", "H")]
    assert [edit.changed for edit in history.edits] == [2, 1]
    assert [(edit.start, edit.end) for edit in history.edits] == [(1, 2), (8, 9)]


def test_an_edit_that_was_undone_is_none() -> None:
    assert changes_of(history_of("a\nb\n", "a\nx\n", "a\nb\n")) == []


def test_the_oldest_edits_are_dropped() -> None:
    lines = [str(number) for number in range(40)]
    versions = ["\n".join(lines)]
    for number in (30, 10, 20):
        lines[number] += "!"
        versions.append("\n".join(lines))
    assert changes_of(history_of(*versions, max_edits=2)) == [("10", "10!"), ("20", "20!")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_unchanged_line_between_two_changes_does_not_separate_them(
    order: tuple[int, int],
) -> None:
    for distance, expected in ((2, ["a|b|c"]), (3, ["a", "d"])):
        lines = list("abcdefg")
        places = (0, distance)
        versions = ["\n".join(lines)]
        for place in order:
            lines[places[place]] += "!"
            versions.append("\n".join(lines))
        assert [before for before, _ in changes_of(history_of(*versions))] == expected

"""Which diagnostics of a document a prompt contains."""

from fim.context.problems import MAX_MESSAGE_CHARACTERS, MAX_PROBLEMS, nearest_problems
from fim.snapshot import Problem, Snapshot


def nearest(*problems: Problem, line: int = 10) -> list[tuple[int, str]]:
    text = "x\n" * 40
    snapshot = Snapshot("u", "python", text, 2 * line, problems=problems)
    return [(each.line, each.message) for each in nearest_problems(snapshot)]


def test_the_nearest_ones_are_used_in_the_order_of_their_lines() -> None:
    problems = [Problem(number, str(number)) for number in range(30, -1, -1)]
    lines = [line for line, _ in nearest(*problems)]
    assert lines == [6, 7, 8, 12, 13, 14]
    assert len(lines) == MAX_PROBLEMS


def test_those_of_the_lines_in_work_are_left_out() -> None:
    problems = [Problem(number, str(number)) for number in (8, 9, 10, 11, 12)]
    assert [line for line, _ in nearest(*problems)] == [8, 12]


def test_only_the_beginning_of_a_message_is_used() -> None:
    assert nearest(Problem(1, "  unused\n  import")) == [(1, "unused")]
    assert nearest(Problem(1, "x " * 500)) == [(1, ("x " * 500)[:MAX_MESSAGE_CHARACTERS])]
    assert nearest(Problem(1, " \n"), Problem(2, "")) == []


def test_equal_ones_are_used_once() -> None:
    assert nearest(Problem(1, "unused"), Problem(1, "unused")) == [(1, "unused")]


def test_messages_with_keys_are_left_out() -> None:
    key = "ghp_" + "aB3dE5fG7h" * 3 + "aB3dE5"
    assert nearest(Problem(1, f"'{key}' is undefined"), Problem(2, "unused")) == [(2, "unused")]


def test_lines_that_do_not_exist_any_more_do_no_harm() -> None:
    assert nearest(Problem(10**6, "unused")) == [(10**6, "unused")]

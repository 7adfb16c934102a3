"""Fast models are asked at once, slow ones in pauses."""

import pytest

from lsp_server.session.debounce import LONGEST_MS, Pacing


def paced(gap: float, answer: float, keys: int = 10) -> Pacing:
    pacing = Pacing()
    for number in range(keys):
        pacing.key(number * gap)
        pacing.answered(answer)
    return pacing


@pytest.mark.parametrize(
    ("gap", "answer", "delay"),
    [
        (150, 40, 0),  # there before the next key
        (150, 400, 150),  # slower than the typing: in a pause
        (900, 2000, LONGEST_MS),
        (5000, 9000, 0),  # no rhythm: every gap is a pause
    ],
)
def test_the_delay_follows_rhythm_and_model(gap: float, answer: float, delay: float) -> None:
    assert paced(gap, answer).delay() == delay


def test_nothing_known_means_no_waiting_and_one_slow_answer_changes_nothing() -> None:
    assert Pacing().delay() == 0
    pacing = paced(150, 40)
    pacing.answered(5000)  # the first after a pause may compute its whole prompt
    assert pacing.delay() == 0

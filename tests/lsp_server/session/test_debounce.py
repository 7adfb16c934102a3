"""Fast models are asked immediately, slow models when the user pauses."""

import pytest

from lsp_server.session.debounce import MAX_DELAY_MS, AdaptiveDebounce


def debounce_after(gap: float, answer: float, num_keys: int = 10) -> AdaptiveDebounce:
    debounce = AdaptiveDebounce()
    for number in range(num_keys):
        debounce.on_key(number * gap)
        debounce.on_answer(answer)
    return debounce


@pytest.mark.parametrize(
    ("gap", "answer", "delay"),
    [
        (150, 40, 0),  # the answer comes before the next key
        (150, 400, 150),  # the model is slower than the typing: wait for a pause
        (900, 2000, MAX_DELAY_MS),
        (5000, 9000, 0),  # no rhythm: every gap is a pause
    ],
)
def test_the_delay_depends_on_typing_rhythm_and_model_speed(
    gap: float, answer: float, delay: float
) -> None:
    assert debounce_after(gap, answer).delay_ms() == delay


def test_there_is_no_delay_without_measurements() -> None:
    assert AdaptiveDebounce().delay_ms() == 0


def test_one_slow_answer_does_not_change_the_delay() -> None:
    debounce = debounce_after(150, 40)
    debounce.on_answer(5000)  # the first answer after a pause may need a whole prefill
    assert debounce.delay_ms() == 0

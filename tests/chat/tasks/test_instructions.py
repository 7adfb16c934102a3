"""The number of tests that an instruction asks for."""

import pytest

from chat.tasks.instructions import wanted_tests


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("only one test case", 1),
        ("Write just one test.", 1),
        ("a single test, please", 1),
        ("Write 3 tests for negative numbers", 3),
        ("two short tests", 2),
        ("只要一个测试用例", 1),
        ("请只写两个测试", 2),
        ("nur einen Test", 1),
        ("Schreibe nur zwei Tests", 2),
        ("un seul test, s'il vous plaît", 1),
        ("écris deux tests", 2),
        ("un solo caso de prueba", 1),
        ("только один тест", 1),
        ("テストを一つだけ書いて", 1),
        ("테스트를 하나만 작성해 줘", 1),
        ("", None),
        ("one test per branch", None),
        ("one test for each argument", None),
        ("Test one thing at a time", None),
        ("use parametrize", None),
        ("check 3 values", None),
        ("测试负数", None),
        ("0 tests", None),
    ],
)
def test_the_number_that_an_instruction_says(instruction: str, expected: int | None) -> None:
    assert wanted_tests(instruction) == expected

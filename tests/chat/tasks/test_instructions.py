"""The number, the names and the framework of the tests that an instruction asks for."""

import time

import pytest

from chat.tasks.instructions import (
    read_instruction,
    requested_framework,
    requested_names,
    requested_tests,
)


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("only one test case", 1),
        ("Write just one test.", 1),
        ("a single test, please", 1),
        ("Write 3 tests for negative numbers", 3),
        ("two short tests", 2),
        ("four tests", 4),
        ("只要一个测试用例", 1),
        ("请只写两个测试", 2),
        ("nur einen Test", 1),
        ("nur drei Tests", 3),
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
        ("a \u017fingle test", 1),  # a long s
    ],
)
def test_the_number_that_an_instruction_says(instruction: str, expected: int | None) -> None:
    assert requested_tests(instruction) == expected


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("use unittest", "unittest"),
        ("with pytest, please", "pytest"),
        ("unittest instead of pytest", "unittest"),
        ("not unittest but pytest", "pytest"),
        ("Bitte mit unittest statt pytest", "unittest"),
        ("用 unittest 写", "unittest"),
        ("不要用pytest, 用unittest", "unittest"),
        ("Don't use jest. Use vitest.", "vitest"),
        ("with node:test", "node"),
        ("Use Node's test runner", "node"),
        ("pytest or unittest", None),
        ("use unittest.mock for the mailer", None),
        ("use pytest-mock", None),
        ("the jester laughs", None),
        ("without pytest", None),
        ("", None),
    ],
)
def test_the_framework_that_an_instruction_names(instruction: str, expected: str | None) -> None:
    assert requested_framework(instruction) == expected


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("Name it test_of_nothing", ("test_of_nothing",)),
        ("one test called test_empty_list", ("test_empty_list",)),
        ("call them test_low, test_high and test_inside", ("test_low", "test_high", "test_inside")),
        ('name the test "adds two numbers"', ("adds two numbers",)),
        ("a test named `returnsZero`", ("returnsZero",)),
        ("Nenne den Test test_leere_liste", ("test_leere_liste",)),
        ("命名为 test_empty", ("test_empty",)),
        ("名为“空列表”的测试", ("空列表",)),
        ("测试叫「空列表」", ("空列表",)),
        ("Der Test heißt test_leer", ("test_leer",)),
        ("Nombra el test test_vacio", ("test_vacio",)),
        ("nomme le test test_vide", ("test_vide",)),
        ("call it twice", ()),
        ("called with None and with a list", ()),
        ("use named arguments", ()),
        ("rename_all must keep the order", ()),
        ("", ()),
    ],
)
def test_the_names_that_an_instruction_gives(instruction: str, expected: tuple[str, ...]) -> None:
    assert requested_names(instruction) == expected


_PARTS = (
    *("one ", "one a ", "a-", "only ", "nur ein ", "nur einzigen", "un seul cas de ", "un solo "),
    *(
        "테스트",
        "테스트 ",
        "テスト",
        "一つだけ",
        "只",
        "只一",
        "Test",
        "1 ",
        "not ",
        "not use ",
        "pytest ",
    ),
    *(
        "name ",
        "name the ",
        "named",
        "call ",
        'name "',
        "name a_b, ",
        "nenn",
        "a_",
        "aB",
        " ",
        "\n",
    ),
)
"""Beginnings of what the patterns look for."""


@pytest.mark.parametrize("part", _PARTS)
@pytest.mark.parametrize("between", ["", "x", " "])
def test_no_instruction_keeps_the_server_busy(part: str, between: str) -> None:
    instruction = (part * 200 + between * 200) * 2_000
    start = time.process_time()
    read_instruction(instruction)
    assert time.process_time() - start < 0.2  # most take 10 ms

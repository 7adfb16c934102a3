"""What is mined from source is what stands there, asked for."""

import ast
import random

import pytest
import tokenizers

from tests.training.conftest import CODE
from training.collect import Document
from training.dialogues import (
    Turn,
    chatml,
    doctest_cells,
    examples_as_test,
    functions,
    pairs_with_tests,
    turn_about,
)
from training.formats import Cell, ids_of

NESTED = '''\
class Box:
    @property
    def volume(self):
        """Return the volume in litres. It is never negative.

        >>> Box().volume
        1
        """
        side = 1
        return side ** 3
'''


def test_a_function_is_found_with_its_parts() -> None:
    (found,) = functions(NESTED)
    assert found.name == "volume"
    assert found.signature == "volume(self)"
    assert found.summary == "Return the volume in litres."
    assert found.bare == "def volume(self):\n    side = 1\n    return side ** 3\n"
    assert ast.unparse(ast.parse(found.source)).count("litres") == 1


def test_what_does_not_parse_or_is_undocumented_gives_none() -> None:
    assert list(functions("def f(:\n")) == []
    assert list(functions("def f():\n    return 1\n")) == []
    assert list(functions('def f():\n    """Only a docstring, no body."""\n')) == []


def test_each_request_is_answered_by_the_source() -> None:
    (function, *_) = functions(CODE)
    made = {
        turn.task: turn
        for seed in range(40)
        for turn in [turn_about(function, random.Random(seed))]
    }
    assert set(made) == {"document", "explain", "write"}
    assert made["document"].answer == f'"""{function.docstring}"""'
    assert function.docstring not in made["document"].request
    assert made["explain"].answer == "Return the arithmetic mean."
    assert made["write"].answer == f"```python\n{function.source.rstrip()}\n```"


def test_tests_are_paired_by_name() -> None:
    tests = Document(
        "p",
        "test_a.py",
        "def test_mean():\n    assert mean([1]) == 1\n\n\ndef test_other():\n    assert other()\n",
    )
    turns = list(pairs_with_tests([Document("p", "a.py", CODE)], [tests], random.Random(0)))
    assert [turn.task for turn in turns] == ["test"] * 3
    assert len({turn.request for turn in turns}) == 3
    assert all("def mean(numbers):" in turn.request for turn in turns)
    assert turns[0].answer == "```python\ndef test_mean():\n    assert mean([1]) == 1\n```"


EXAMPLES = '''
def ids(items):
    """Number the items.

    >>> some = ["a", "b"]
    >>> ids(some)
    {'a': 0, 'b': 1}
    >>> print(ids([]))
    {}
    """
    found = enumerate(items)
    return {item: at for at, item in found}
'''


def test_a_docstrings_examples_become_a_test() -> None:
    (function,) = functions(EXAMPLES)
    assert examples_as_test(function) == (
        "def test_ids():\n    some = [\"a\", \"b\"]\n    assert ids(some) == {'a': 0, 'b': 1}\n"
    )


@pytest.mark.parametrize(
    "examples",
    [
        ">>> other.ids(1)\n    1",
        ">>> ids(x)\n    {}",
        ">>> ids([])\n    <object at 0x7f>",
        ">>> ids([])\n    {} # may vary",
        ">>> 1 + 1\n    2",
        ">>> x = ids([])",
    ],
)
def test_examples_that_cannot_stand_alone_become_none(examples: str) -> None:
    start, end = EXAMPLES.index(">>>"), EXAMPLES.rindex('    """')
    (function,) = functions(f"{EXAMPLES[:start]}{examples}\n{EXAMPLES[end:]}")
    assert examples_as_test(function) is None


def test_a_dialogue_is_chatml(tokenizer: tokenizers.Tokenizer) -> None:
    turn = Turn("explain", "What is <|end|>?", "A token.")
    ids = ids_of(chatml(turn), tokenizer)
    text = tokenizer.decode(ids, skip_special_tokens=False)
    assert text == (
        "<|system|>\n<|end|>\n<|user|>\nWhat is <|end|>?<|end|>\n<|assistant|>\nA token.<|end|>\n"
    )
    assert ids.count(tokenizer.token_to_id("<|end|>")) == 3


@pytest.mark.parametrize("text", ["No examples.", ">>> 'unclosed\n  bad indent\n>>>x"])
def test_a_docstring_without_examples_is_no_notebook(text: str) -> None:
    assert doctest_cells(text) == []


def test_examples_are_cells() -> None:
    assert doctest_cells("Add.\n\n>>> 1 + 1\n2\n>>> x = 1\n") == [
        Cell("text", "Add."),
        Cell("code", "1 + 1"),
        Cell("output", "2"),
        Cell("code", "x = 1"),
    ]

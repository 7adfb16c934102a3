"""Dialogues are mined from source code: the answers are the code and its docstrings."""

import ast
import random

import pytest
import tokenizers

from tests.training.conftest import CODE
from training.collect import CorpusDocument
from training.dialogues import (
    MinedDialogue,
    chatml_segments,
    dialogue_about,
    dialogues_from_tests,
)
from training.doctests import doctest_cells, examples_as_test
from training.formats import NotebookCell, encode_segments
from training.functions import documented_functions

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


def test_a_function_has_name_signature_summary_and_source() -> None:
    (function,) = documented_functions(NESTED)
    assert function.name == "volume"
    assert function.signature == "volume(self)"
    assert function.summary == "Return the volume in litres."
    assert function.undocumented_source == "def volume(self):\n    side = 1\n    return side ** 3\n"
    assert ast.unparse(ast.parse(function.source)).count("litres") == 1


def test_broken_or_undocumented_code_yields_no_functions() -> None:
    assert list(documented_functions("def f(:\n")) == []
    assert list(documented_functions("def f():\n    return 1\n")) == []
    assert list(documented_functions('def f():\n    """Only a docstring, no body."""\n')) == []


def test_each_request_is_answered_by_the_source() -> None:
    (function, *_) = documented_functions(CODE)
    by_task = {
        dialogue.task: dialogue
        for seed in range(40)
        for dialogue in [dialogue_about(function, random.Random(seed))]
    }
    assert set(by_task) == {"document", "explain", "write"}
    assert by_task["document"].answer == f'"""{function.docstring}"""'
    assert function.docstring not in by_task["document"].request
    assert by_task["explain"].answer == "Return the arithmetic mean."
    assert by_task["write"].answer == f"```python\n{function.source.rstrip()}\n```"


def test_tests_are_paired_by_name() -> None:
    tests = CorpusDocument(
        "p",
        "test_a.py",
        "def test_mean():\n    assert mean([1]) == 1\n\n\ndef test_other():\n    assert other()\n",
    )
    dialogues = list(
        dialogues_from_tests([CorpusDocument("p", "a.py", CODE)], [tests], random.Random(0))
    )
    assert [dialogue.task for dialogue in dialogues] == ["test"] * 3
    assert len({dialogue.request for dialogue in dialogues}) == 3
    assert all("def mean(numbers):" in dialogue.request for dialogue in dialogues)
    assert dialogues[0].answer == "```python\ndef test_mean():\n    assert mean([1]) == 1\n```"


EXAMPLES = '''
def ids(items):
    """Number the items.

    >>> some = ["a", "b"]
    >>> ids(some)
    {'a': 0, 'b': 1}
    >>> print(ids([]))
    {}
    """
    numbered = enumerate(items)
    return {item: number for number, item in numbered}
'''


def test_the_examples_of_a_docstring_become_a_test() -> None:
    (function,) = documented_functions(EXAMPLES)
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
def test_examples_that_are_not_self_contained_become_no_test(examples: str) -> None:
    start, end = EXAMPLES.index(">>>"), EXAMPLES.rindex('    """')
    (function,) = documented_functions(f"{EXAMPLES[:start]}{examples}\n{EXAMPLES[end:]}")
    assert examples_as_test(function) is None


def test_a_dialogue_is_encoded_as_chatml(tokenizer: tokenizers.Tokenizer) -> None:
    dialogue = MinedDialogue("explain", "What is <|end|>?", "A token.")
    ids = encode_segments(chatml_segments(dialogue), tokenizer)
    text = tokenizer.decode(ids, skip_special_tokens=False)
    assert text == (
        "<|system|>\n<|end|>\n<|user|>\nWhat is <|end|>?<|end|>\n<|assistant|>\nA token.<|end|>\n"
    )
    assert ids.count(tokenizer.token_to_id("<|end|>")) == 3


@pytest.mark.parametrize("text", ["No examples.", ">>> 'unclosed\n  bad indent\n>>>x"])
def test_a_docstring_without_examples_has_no_cells(text: str) -> None:
    assert doctest_cells(text) == []


def test_text_code_and_output_of_examples_are_cells() -> None:
    assert doctest_cells("Add.\n\n>>> 1 + 1\n2\n>>> x = 1\n") == [
        NotebookCell("text", "Add."),
        NotebookCell("code", "1 + 1"),
        NotebookCell("output", "2"),
        NotebookCell("code", "x = 1"),
    ]

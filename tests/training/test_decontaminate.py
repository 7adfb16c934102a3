"""A document that holds a benchmark's text goes, however it is indented."""

import gzip
import json
from pathlib import Path

import pytest

from training.decontaminate import Benchmarks, benchmark_texts

SOLUTION = """\
    for index, left in enumerate(numbers):
        for right in numbers[index + 1:]:
            if abs(left - right) < threshold:
                return True
    return False
"""
PROMPT = '''def close(numbers, threshold):
    """Tell whether two of the given numbers are closer to each other than the threshold is."""
'''


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    file = tmp_path / "tasks.jsonl.gz"
    task = {"prompt": PROMPT, "canonical_solution": SOLUTION}
    short = {"prompt": "def add(a, b):\n", "canonical_solution": "    return a + b\n"}
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in (task, short))
    return file


def test_docstrings_and_solutions_are_its_texts(benchmark: Path) -> None:
    texts = benchmark_texts(benchmark)
    assert SOLUTION in texts
    assert any(text.startswith("Tell whether two") for text in texts)


def test_a_document_with_one_of_them_is_found(benchmark: Path) -> None:
    known = Benchmarks(benchmark_texts(benchmark))
    deeper = "class A:\n" + "".join(f"    {line}\n" for line in SOLUTION.splitlines())
    assert known.has(deeper)
    assert known.has("x = 1\n" + PROMPT)
    assert not known.has("\n".join(SOLUTION.splitlines()[:2]))
    assert not known.has("def add(a, b):\n    return a + b\n")


def test_another_form_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"question": "?"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        benchmark_texts(file)

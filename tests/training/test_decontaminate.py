"""A document with a text of a benchmark is dropped, whatever its indentation."""

import gzip
import json
from pathlib import Path

import pytest

from training.decontaminate import BenchmarkTexts, read_benchmark_texts

SOLUTION = """\
    for index, left in enumerate(numbers):
        for right in numbers[index + 1:]:
            if abs(left - right) < threshold:
                return True
    return False
"""
PROMPT = '''def close(numbers, threshold):
    """Return whether two of the given numbers are closer to each other than the threshold is."""
'''


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    file = tmp_path / "tasks.jsonl.gz"
    task = {"prompt": PROMPT, "canonical_solution": SOLUTION}
    short = {"prompt": "def add(a, b):\n", "canonical_solution": "    return a + b\n"}
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in (task, short))
    return file


def test_docstrings_and_solutions_are_benchmark_texts(benchmark: Path) -> None:
    texts = read_benchmark_texts(benchmark)
    assert SOLUTION in texts
    assert any(text.startswith("Return whether two") for text in texts)


def test_a_document_with_a_benchmark_text_is_recognised(benchmark: Path) -> None:
    benchmarks = BenchmarkTexts(read_benchmark_texts(benchmark))
    deeper = "class A:\n" + "".join(f"    {line}\n" for line in SOLUTION.splitlines())
    assert benchmarks.occur_in(deeper)
    assert benchmarks.occur_in("x = 1\n" + PROMPT)
    assert not benchmarks.occur_in("\n".join(SOLUTION.splitlines()[:2]))
    assert not benchmarks.occur_in("def add(a, b):\n    return a + b\n")


def test_another_format_is_refused_with_the_line_number(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"question": "?"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        read_benchmark_texts(file)

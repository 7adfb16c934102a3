"""Tables and texts of commands: at every width, in pipes, and in other encodings."""

import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.loading.adapter_store import CONFIG_FILE, WEIGHTS_FILE, AdapterNote, install
from lsp_server.cli.terminal import column_widths, replace_unprintable
from lsp_server.session.statistics import write
from tests.lsp_server.cli.runner import assert_plain, run, run_in_terminal

MODEL = "bigcode/a-model-with-a-long-name-that-needs-much-room"


@pytest.fixture
def filled(tmp_path: Path) -> dict[str, str]:
    """Variables of an environment with counts and adapters."""
    statistics, adapters, trained = (tmp_path / name for name in ("s.sqlite3", "a", "trained"))
    for event in ("shown", "accepted", "accepted a line", "kept 30 s"):
        write(statistics, (1e12, event, "typescriptreact", MODEL, 1234567))
    trained.mkdir()
    (trained / CONFIG_FILE).write_text("{}")
    (trained / WEIGHTS_FILE).write_bytes(b"")
    before, after = ({"exact_match": n, "nats_per_token": n + 1} for n in (0.125, 0.25))
    reports: dict[str, dict[str, Any]] = {
        "shop-cart": {"before": before, "after": after},
        "dialogues": {"perplexity_before": 8.0, "perplexity_after": 4.5},
        "damaged": {"before": "x", "after": 5, "perplexity_before": None},
    }
    for name, report in reports.items():
        install(trained, name, AdapterNote(MODEL, "0", report), adapters)
    return {"STARCODER_LSP_STATISTICS": str(statistics), "STARCODER_LSP_ADAPTERS": str(adapters)}


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("columns", [40, 80])
def test_no_cell_is_cut_off_at_any_width(filled: dict[str, str], columns: int) -> None:
    counts, status = run_in_terminal("stats", columns=columns, **filled)
    assert status == 0
    for word in ("typescriptreact", MODEL, "1234567", "100%", "shown", "kept", "accepted"):
        assert word in plain(counts)
    adapters, status = run_in_terminal("tune", "list", columns=columns, **filled)
    assert status == 0
    for word in ("shop-cart", "12.5% → 25.0%", "1.125 → 1.250", "8.00 → 4.50", MODEL, "damaged"):
        assert word in plain(adapters)
    for text in (counts, adapters):
        assert "…" not in text
        lines = plain(text).splitlines()
        long = [line for line in lines if cell_len(line) > columns]
        assert all("/" in line for line in long), long  # only paths and names of models


def test_a_wide_terminal_gets_a_table_and_a_narrow_one_a_list(filled: dict[str, str]) -> None:
    wide, _ = run_in_terminal("tune", "list", columns=150, **filled)
    assert re.search(rf"shop-cart +{MODEL} +12.5% → 25.0%", plain(wide))
    narrow, _ = run_in_terminal("tune", "list", columns=60, **filled)
    assert f"shop-cart\n  for: {MODEL}\n  exact lines: 12.5% → 25.0%\n" in plain(narrow)


@pytest.mark.parametrize(
    "variables",
    [{}, {"TERM": "dumb", "COLUMNS": "60"}],
    ids=["pipe", "dumb"],
)
def test_a_pipe_gets_all_text_without_colours(
    filled: dict[str, str], variables: dict[str, str]
) -> None:
    process = run("stats", variables={**filled, **variables})
    assert process.returncode == 0
    assert "\x1b" not in process.stdout
    assert MODEL in process.stdout
    assert "1234567" in process.stdout


def test_no_color_is_respected_in_a_terminal(filled: dict[str, str]) -> None:
    text, _ = run_in_terminal("tune", "list", columns=80, NO_COLOR="1", **filled)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)


@pytest.mark.parametrize("arguments", [("tune", "list"), ("models",), ("--help",)])
def test_a_terminal_without_unicode_is_supported(
    filled: dict[str, str], arguments: tuple[str, ...]
) -> None:
    variables = {**filled, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    process = run(*arguments, variables=variables, encoding="ascii")
    assert_plain(process, 0)
    assert process.stdout
    if arguments == ("tune", "list"):
        assert "12.5% -> 25.0%" in process.stdout


def test_empty_tables_are_sentences(tmp_path: Path) -> None:
    variables = {
        "STARCODER_LSP_STATISTICS": str(tmp_path / "none.sqlite3"),
        "STARCODER_LSP_ADAPTERS": str(tmp_path / "none"),
    }
    for arguments, words in (
        (("stats",), "No suggestions are counted."),
        (("stats", "--days", "7"), "No suggestions are counted in this time."),
        (("tune", "list"), "`starcoder-lsp tune code PATH` trains one."),
    ):
        text, status = run_in_terminal(*arguments, columns=60, **variables)
        assert (status, words in plain(text)) == (0, True), text
    folder = tmp_path / "models"
    folder.mkdir()
    process = run("models", str(folder), variables=variables)
    assert f"{folder} has no models." in process.stdout
    assert process.returncode == 0


def test_models_and_its_advice_can_be_copied_at_60_columns() -> None:
    text, status = run_in_terminal("models", columns=60)
    assert status == 0
    assert "hf download bigcode/tiny_starcoder_py      164M, Python, for a CPU" in plain(text)


WORDS = st.lists(st.text(string.ascii_letters + "ü世", min_size=1, max_size=30), max_size=4)


ROWS = st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=4)


@given(ROWS, st.integers(1, 120))
def test_widths_hold_every_word(rows: list[list[list[str]]], width: int) -> None:
    cells = [[" ".join(words) for words in row] for row in rows]
    columns = ["name", "two words", ""]
    widths = column_widths(columns, cells, width)
    if widths is None:
        return
    assert sum(widths) + 4 <= width
    for index, column in enumerate(columns):
        for text in (column, *(row[index] for row in cells)):
            assert all(cell_len(word) <= widths[index] for word in text.split())
            if text != column and cell_len(text) <= 20:
                assert cell_len(text) <= widths[index]


def test_a_row_that_fits_is_not_broken() -> None:
    assert column_widths(["a", "b"], [["x" * 30, "y z"]], 99) == [30, 3]
    assert column_widths(["a", "b"], [["x" * 30, "y z"]], 35) == [30, 3]
    assert column_widths(["a", "b"], [["x" * 30, "y z"]], 34) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("±", "+/-"), ("…", "..."), ("→", "->"), ("世", "?"), ("\udcff", "?")]
)
def test_what_an_encoding_lacks_is_replaced(text: str, expected: str) -> None:
    error = UnicodeEncodeError("ascii", text, 0, 1, "")
    assert replace_unprintable(error) == (expected, 1)

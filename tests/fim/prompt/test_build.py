"""The prompt has each special token once, and never more tokens than fit."""

from dataclasses import replace
from itertools import pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.scripted import byte_tokenizer
from engine.tokenizer import Tokenizer
from fim.prompt.build import GROUP_LINES, build
from fim.prompt.families import detect
from fim.prompt.window import BLOCK_LINES, fit
from fim.settings import FORMS, Form
from fim.snapshot import Cell, Edit, Excerpt, Problem, Snapshot

TOKENIZER = byte_tokenizer()
FAMILY = detect(TOKENIZER)
assert FAMILY.fim is not None
FIM = FAMILY.fim
SPECIAL = list(FIM.ids)


def unix(text: str) -> str:
    """Return the text with the line endings that models expect."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


hostile = st.lists(
    st.sampled_from(
        [
            "<fim_prefix>",
            "<fim_suffix>",
            "<fim_middle>",
            "<|endoftext|>",
            "<|end|>",
            "\r\n",
            "\n",
            "\r",
            "x = 1",
            "    ",
            "é",
            "🎉",
            "\x0c",
            "\u2028",
        ]
    )
).map("".join)


@given(text=hostile, position=st.floats(0, 1), form=st.sampled_from(FORMS))
def test_each_special_token_occurs_once_whatever_the_text_spells(
    text: str, position: float, form: Form
) -> None:
    snapshot = Snapshot("u", "python", text, int(position * len(text)))
    ids = build(snapshot, FAMILY, TOKENIZER.encode, 10_000, form)
    assert [ids.count(token_id) for token_id in SPECIAL] == [1, 1, 1]
    assert TOKENIZER.end_of_text_id not in ids
    decoded = TOKENIZER.decode([token_id for token_id in ids if token_id not in SPECIAL])
    sides = [unix(snapshot.before), unix(snapshot.after)]
    assert sorted(decoded) == sorted("".join(sides))  # nothing lost, nothing added


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("cursor", "<fim_prefix>a\n  b = <fim_suffix> # c\nd<fim_middle>"),
        ("line", "<fim_prefix><fim_suffix> # c\nd<fim_middle>a\n  b = "),
        ("suffix-first", "<fim_prefix><fim_suffix> # c\nd<fim_middle>a\n  b = "),
    ],
)
def test_the_order_of_each_form(form: Form, expected: str) -> None:
    snapshot = Snapshot("u", "python", "a\r\n  b =  # c\r\nd", 9)
    ids = build(snapshot, FAMILY, TOKENIZER.encode, 100, form)
    assert TOKENIZER.decode(ids, skip_special=False) == expected


def test_a_family_without_suffix_first_gets_the_line_form() -> None:
    snapshot = Snapshot("u", "python", "a\nb = ", 6)
    other = replace(FAMILY, fim=replace(FIM, has_spm=False))
    ids = build(snapshot, other, TOKENIZER.encode, 100, "suffix-first")
    assert ids == build(snapshot, other, TOKENIZER.encode, 100, "line")


@given(
    before=st.text(max_size=600),
    after=st.text(max_size=600),
    limit=st.integers(8, 300),
    form=st.sampled_from(FORMS),
)
@settings(deadline=None)
def test_a_prompt_never_exceeds_its_limit(before: str, after: str, limit: int, form: Form) -> None:
    snapshot = Snapshot("u", "python", before + after, len(before))
    assert len(build(snapshot, FAMILY, TOKENIZER.encode, limit, form)) <= limit


@given(before=st.text(max_size=300), after=st.text(max_size=300), room=st.integers(0, 200))
def test_the_window_is_next_to_the_cursor(before: str, after: str, room: int) -> None:
    prefix, suffix = fit(before, after, room, TOKENIZER.encode)
    assert len(prefix) + len(suffix) <= room

    left, right = TOKENIZER.encode(unix(before)), TOKENIZER.encode(unix(after))
    assert left[len(left) - len(prefix) :] == prefix
    assert right[: len(suffix)] == suffix


def test_the_start_of_the_window_moves_by_blocks() -> None:
    lines = [f"value_{n} = {n}\n" for n in range(50_000)]
    before, starts = "".join(lines), set()
    for typed in range(200):
        prefix, _ = fit(before + "x" * typed, "\nend\n", 2000, TOKENIZER.encode)
        first_line = TOKENIZER.decode(prefix).split("\n", 1)[0]
        number = int(first_line.split("_")[1].split(" ")[0])
        assert number % BLOCK_LINES == 0
        starts.add(number)
    assert len(starts) <= 2


@pytest.mark.parametrize("above", [0, 30, 150])
@pytest.mark.parametrize(
    ("form", "max_count"), [("suffix-first", 3), ("line", 2 + 40 // GROUP_LINES)]
)
def test_most_of_the_prompt_stays_the_same_from_line_to_line(
    form: Form, above: int, max_count: int
) -> None:
    """The ends of the window and of its blocks do not move at each line."""
    lines = [f"value_{n} = {n}\n" + "\n" * (n % 3) for n in range(300)]
    before, after = "".join(lines[:above]), "\n".join(lines[above:])
    prompts: list[tuple[int, ...]] = [()]
    for typed in range(40):
        before += f"typed = {typed}\n"
        snapshot = Snapshot("u", "python", before + after, len(before))
        prompts.append(build(snapshot, FAMILY, TOKENIZER.encode, 2000, form))
    changed = [
        len(following) - common_prefix(previous, following)
        for previous, following in pairwise(prompts[1:])
    ]
    assert sum(size > 150 for size in changed) <= max_count


def common_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    equal = (a == b for a, b in zip(first, second, strict=False))
    return sum(takewhile(bool, equal))


def test_long_lines_leave_no_gap_in_the_line_form() -> None:
    text = "".join(f"{'x' * 300}{number}\n" for number in range(20))
    for cursor in range(0, len(text), 97):
        ids = build(Snapshot("u", "python", text, cursor), FAMILY, TOKENIZER.encode, 800)
        prefix = ids[1 : ids.index(FIM.suffix)]
        middle = ids[ids.index(SPECIAL[-1]) + 1 :]
        assert text[:cursor].endswith(TOKENIZER.decode([*prefix, *middle]))


def test_a_line_as_long_as_a_file_still_fits() -> None:
    snapshot = Snapshot("u", "python", "x" * 1_000_000, 500_000)
    ids = build(snapshot, FAMILY, TOKENIZER.encode, 500, "line")
    assert 300 < len(ids) <= 500


@pytest.mark.parametrize("lines", [0, 1, 31, 32, 33, 63, 64, 65, 96, 100])
@pytest.mark.parametrize("typed", ["", "x"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_join_to_the_document_wherever_the_cursor_is(
    lines: int, typed: str, end: str
) -> None:
    text = [f"line {number}{end}" for number in range(140)]
    before, after = "".join(text[:lines]) + typed, "".join(text[lines:])
    prefix, suffix = fit(before, after, 100_000, TOKENIZER.encode)
    assert TOKENIZER.decode(prefix) == unix(before)
    assert TOKENIZER.decode(suffix) == unix(after)


NOTEBOOK = byte_tokenizer(
    (
        "<|endoftext|>",
        "<fim_prefix>",
        "<fim_middle>",
        "<fim_suffix>",
        "<jupyter_start>",
        "<jupyter_text>",
        "<jupyter_code>",
        "<jupyter_output>",
        "<empty_output>",
    ),
)
CELLS = (Cell("code", "import os"), Cell("text", "Then <jupyter_code>:"), Cell("code", "a = 1"))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("line", "<fim_prefix>{cells}<fim_suffix>\ny<fim_middle>b = "),
        ("suffix-first", "<fim_prefix><fim_suffix>\ny<fim_middle>{cells}b = "),
    ],
)
def test_cells_have_starcoders_format(form: Form, expected: str) -> None:
    snapshot = Snapshot("u", "python", "b = \ny", 4, cells=CELLS)
    family = detect(NOTEBOOK)
    ids = build(snapshot, family, NOTEBOOK.encode, 500, form)
    cells = (
        "<jupyter_start><jupyter_code>import os<empty_output><jupyter_text>Then <jupyter_code>:"
        "<jupyter_code>a = 1<empty_output><jupyter_code>"
    )
    assert NOTEBOOK.decode(ids, skip_special=False) == expected.format(cells=cells)
    code = NOTEBOOK.special_id("<jupyter_code>")
    assert ids.count(code) == 3  # the one in the text of a cell is plain text
    assert code in family.stop_ids


def test_a_model_without_tokens_for_cells_gets_their_code() -> None:
    snapshot = Snapshot("u", "python", "b = ", 4, cells=CELLS)
    ids = build(snapshot, FAMILY, TOKENIZER.encode, 500, "cursor")
    assert TOKENIZER.decode(ids, skip_special=False) == (
        "<fim_prefix>import os\n\na = 1\n\nb = <fim_suffix><fim_middle>"
    )


@given(limit=st.integers(8, 120), sizes=st.lists(st.integers(0, 60), max_size=6))
def test_cells_take_at_most_half_of_the_prompt_and_the_last_ones_stay(
    limit: int, sizes: list[int]
) -> None:
    cells = tuple(Cell("code", chr(97 + index) * size) for index, size in enumerate(sizes))
    snapshot = Snapshot("u", "python", "Z" * 200, 200, cells=cells)
    ids = build(snapshot, detect(NOTEBOOK), NOTEBOOK.encode, limit, "suffix-first")
    assert len(ids) <= limit
    text = NOTEBOOK.decode(ids)
    assert text.count("Z") >= (limit - 3) // 2 - 1
    kept = [index for index, size in enumerate(sizes) if size and chr(97 + index) in text]
    nonempty = [index for index, size in enumerate(sizes) if size]
    assert kept == nonempty[len(nonempty) - len(kept) :]


# Excerpts of other files.


def with_files(names: tuple[str, ...] = ("<filename>", "<reponame>")) -> Tokenizer:
    return byte_tokenizer(("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", *names))


IN_PROJECT = Snapshot(
    "u",
    "python",
    "x = 1\ny\n",
    6,
    project="bakery",
    path="src/main.py",
    excerpts=(Excerpt("bread.py", "def bake():\n"), Excerpt("oven.py", "HOT = 1")),
)


@pytest.mark.parametrize("form", FORMS)
def test_excerpts_come_first_and_the_most_useful_one_is_nearest(form: Form) -> None:
    tokenizer = with_files()
    ids = build(IN_PROJECT, detect(tokenizer), tokenizer.encode, 1000, form)
    assert tokenizer.decode(ids, skip_special=False).startswith(
        "<reponame>bakery<filename>oven.py\nHOT = 1\n<filename>bread.py\ndef bake():\n"
        "<filename>src/main.py\n<fim_prefix>"
    )


IN_WORK = replace(
    IN_PROJECT,
    edits=(
        Edit("oven.py", ("def heat():",), ("    warm()", "    wait()"), ("    hot()",), ("", "x")),
        Edit("bread.py", (), (), ("import oven",), ()),
    ),
    problems=(Problem(0, "'x' is unused"), Problem(9, "'z' is undefined")),
)


def test_edits_and_diagnostics_follow_the_excerpts() -> None:
    tokenizer = with_files()
    ids = build(IN_WORK, detect(tokenizer), tokenizer.encode, 4000)
    assert tokenizer.decode(ids, skip_special=False).startswith(
        "<reponame>bakery<filename>oven.py\nHOT = 1\n<filename>bread.py\ndef bake():\n"
        "<filename>bread.py.diff\n+import oven\n"
        "<filename>oven.py.diff\n def heat():\n-    warm()\n-    wait()\n+    hot()\n \n x\n"
        "<filename>problems.txt\nsrc/main.py:1: 'x' is unused\nsrc/main.py:10: 'z' is undefined\n"
        "<filename>src/main.py\n<fim_prefix>"
    )


def test_edits_and_diagnostics_have_their_shares_and_are_included_whole() -> None:
    tokenizer = with_files()
    family = detect(tokenizer)
    assert family.fim is not None
    for limit in range(20, 2000, 7):
        ids = build(IN_WORK, family, tokenizer.encode, limit)
        assert len(ids) <= limit
        header = tokenizer.decode(ids[: ids.index(family.fim.prefix)], skip_special=False)
        sizes = {text.partition("\n")[0]: len(text) for text in header.split("<filename>")[1:]}
        edits = [size for name, size in sizes.items() if name.endswith(".diff")]
        assert sum(edits) + len(edits) <= limit // 8
        assert sizes.get("problems.txt", 0) < limit // 16
        assert ("problems.txt" in header) == ("undefined" in header)
        assert ("oven.py.diff" in header) == ("+    hot()\n \n x\n" in header)
    assert len(edits) == 2


def test_edits_and_diagnostics_that_spell_special_tokens_stay_text() -> None:
    tokenizer = with_files()
    family = detect(tokenizer)
    edit = Edit("<fim_middle>", ("<fim_suffix>",), ("<fim_prefix>",), ("<filename>",), ())
    hostile = replace(IN_PROJECT, edits=(edit,), problems=(Problem(1, "<fim_suffix>"),))
    ids = build(hostile, family, tokenizer.encode, 4000)
    assert family.fim is not None
    assert family.files is not None
    assert [ids.count(id_) for id_ in family.fim.ids] == [1, 1, 1]
    assert ids.count(family.files.file) == 5


def test_a_family_without_tokens_for_files_gets_no_excerpts() -> None:
    tokenizer = with_files(())
    ids = build(IN_PROJECT, detect(tokenizer), tokenizer.encode, 1000)
    without_project = Snapshot("u", "python", IN_PROJECT.text, IN_PROJECT.cursor)
    assert ids == build(without_project, detect(tokenizer), tokenizer.encode, 1000)


def test_excerpts_take_a_fourth_of_the_prompt_and_are_included_whole() -> None:
    tokenizer = with_files()
    family = detect(tokenizer)
    assert family.fim is not None
    for limit in range(20, 400):
        ids = build(IN_PROJECT, family, tokenizer.encode, limit)
        assert len(ids) <= limit
        size = ids.index(family.fim.prefix)
        assert size <= limit // 4
        header = tokenizer.decode(ids[:size], skip_special=False)
        assert ("bread.py" in header) == ("def bake():" in header)


def test_a_path_that_spells_a_special_token_stays_text() -> None:
    tokenizer = with_files()
    family = detect(tokenizer)
    hostile = replace(IN_PROJECT, path="<fim_middle>.py", project="<fim_suffix>")
    ids = build(hostile, family, tokenizer.encode, 1000)
    assert family.fim is not None
    assert [ids.count(id_) for id_ in family.fim.ids] == [1, 1, 1]

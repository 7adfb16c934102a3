"""The text around the cursor becomes passages without keys and personal data."""

from fim.memory.near import near_parts
from fim.snapshot import Snapshot

KEY = "ghp_" + "a1B2" * 9
MAIL = "jane.doe@corp-mail.org"


def parts(text: str, typed: str = "") -> list[str]:
    """The parts for a text with `|` at the cursor, after the half-typed word `typed`."""
    before, after = text.split("|")
    snapshot = Snapshot("u", "python", before + after, len(before))
    return near_parts(snapshot, len(before) - len(typed))


def test_lines_on_both_sides_are_parts() -> None:
    assert parts("a\r\nb = |c\r\nd") == ["a\nb = ", "c\nd"]
    assert parts("a = to|tal\n", typed="to") == ["a = ", "tal\n"]
    assert parts("|") == []


def test_keys_and_addresses_are_hidden() -> None:
    shown = parts(f"key = {KEY!r}\nmail = {MAIL!r}\nx = |y\nother = {KEY!r}\n# {MAIL}\n")
    text = "".join(shown)
    assert "key = " in text
    assert "other = " in text
    assert KEY[8:20] not in text
    assert "corp-mail" not in text
    assert "\0" not in text


def test_a_key_that_the_cursor_divides_is_hidden_on_both_sides() -> None:
    text = "".join(parts(f"key = '{KEY[:20]}|{KEY[20:]}'\nnext\n"))
    assert KEY[4:20] not in text
    assert KEY[20:] not in text
    assert "next" in text


def test_only_whole_lines_near_the_cursor_are_used() -> None:
    line = "value = compute(first, second)\n"
    above, below = parts(line * 200 + "|" + line * 200)
    assert above == line * (len(above) // len(line))
    assert below == line * (len(below) // len(line))
    assert 1400 < len(above) <= 1500
    assert parts("x" * 5000 + "|" + "y" * 5000) == []


def test_the_number_of_parts_is_limited() -> None:
    lines = f"'{MAIL}' a\n" * 60
    assert 40 < len(parts(lines + "|" + lines)) <= 80

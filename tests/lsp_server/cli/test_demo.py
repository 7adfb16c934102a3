"""`demo`: its five places, its labels and its picture."""

import html
import re
from pathlib import Path

import pytest

from fim.evaluation.counts import GhostText
from lsp_server.cli.demo import EXAMPLES, DemoResult, _print_summary
from tests.lsp_server.cli.runner import run

PICTURE = Path(__file__).parents[3] / "docs" / "demo.svg"
CHARACTER_WIDTH = 12.2
"""Width of a character in the pictures of rich."""
HEAD = re.compile(r"(.+?)  (\d+) ms, (.+)")


def parts(text: str) -> tuple[list[tuple[str, str, int]], list[str], str]:
    """Return the titles with their labels and times, the lines of code, and the footer."""
    heads, code = [], []
    body = text[text.index(").\n") :].splitlines()[1:]
    for line in body:
        if match := HEAD.fullmatch(line.rstrip()):
            heads.append((match[1], match[3], int(match[2])))
        elif line.startswith("  "):
            code.append(line.rstrip())
    (footer,) = [line for line in body if "from the model, slowest" in line]
    return heads, code, footer


def picture_text(picture: Path) -> str:
    """Return the text of an SVG of rich, which has no elements for white space alone."""
    svg = picture.read_text(encoding="utf-8")
    lines: dict[float, str] = {}
    for attributes, text in re.findall(r"<text ([^>]*)>([^<]*)</text>", svg):
        place = re.search(r'x="([\d.]+)" y="([\d.]+)"', attributes)
        if place and "clip-path" in attributes:
            y, column = float(place[2]), round(float(place[1]) / CHARACTER_WIDTH)
            line = lines.get(y, "").ljust(column)
            lines[y] = line + html.unescape(text).replace("\xa0", " ")
    return "\n".join(line.rstrip() for _, line in sorted(lines.items()))


@pytest.mark.usefixtures("own_engines")
def test_the_demo_shows_what_its_picture_shows(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    process = run("demo", "--model", "demo", "--save-svg", str(picture))
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert picture_text(picture).strip()
    heads, code, footer = parts(process.stdout)
    assert [head[0] for head in heads] == [
        *(example.name for example in EXAMPLES),
        "typing the suggestion",
        "asking again with the command",
    ]
    labels = [label for _, label, _ in heads]
    assert labels == ["model"] * 5 + ["typed through", "model"]
    slowest = max(time for _, label, time in heads if label == "model")
    assert footer == f"6 from the model, slowest {slowest} ms; 1 from the cache, slowest " + (
        f"{heads[5][2]} ms."
    )
    in_picture = parts(picture_text(PICTURE))
    assert [head[:2] for head in in_picture[0]] == [head[:2] for head in heads]
    assert in_picture[1] == code
    assert in_picture[2].startswith("6 from the model, slowest ")


def test_the_summary_counts_only_suggestions(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    ghosts = [
        GhostText("a", "model", 5.0, source="model"),
        GhostText("b", "joined", 9.0, source="joined"),
        GhostText("c", "typed through", 2.0, source="typed through"),
        GhostText("", "the model has nothing to add here", 70.0, source="model"),
        GhostText("", "switched off", 1.0),
    ]
    _print_summary(Console(), [DemoResult("", ("", ""), ghost) for ghost in ghosts])
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "2 from the model, slowest 9 ms; 1 from the cache, slowest 2 ms; 2 without a suggestion."
    )

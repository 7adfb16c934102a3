"""The plots that people ask for, drawn by code of an answer: the real server, sandbox and packages.

`make test-plots` installs matplotlib, seaborn and geopandas. The scripted model answers correctly.
"""

import base64
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.conftest import OPTIONAL
from tests.e2e.client import scripted, start
from tests.editors.conftest import INSTALLED, PICTURES

ENVIRONMENT = INSTALLED / "plots/.venv"

BARS = """\
import matplotlib.pyplot as plt
import seaborn as sns

sns.set_theme(context="talk", style="whitegrid")
years = ["2021", "2022", "2023", "2024"]
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 5))
sns.barplot(x=years, y=[12, 15, 11, 19], ax=left, color="steelblue")
left.set(title="Sales", xlabel="Year", ylabel="Million euros")
sns.barplot(x=years, y=[3, 4, 6, 5], ax=right, color="darkorange")
right.set(title="Returns", xlabel="Year", ylabel="Million euros")
fig.tight_layout()
plt.show()
"""

MAP = """\
import geopandas as gpd
import matplotlib.pyplot as plt

world = gpd.read_file("countries.geojson")
colors = world["name"].map(lambda name: "red" if name in ("Germany", "Spain") else "lightgrey")
ax = world.plot(color=colors, edgecolor="black", figsize=(10, 5))
ax.set_title("Germany and Spain")
ax.set_axis_off()
plt.savefig("/private/map.png")
print(f"{len(world)} countries")
"""

PLAYERS = """\
import csv
import matplotlib.pyplot as plt

with open("players.csv") as file:
    players = list(csv.DictReader(file))
goals = [int(player["goals"]) for player in players]
assists = [int(player["assists"]) for player in players]
plt.figure(figsize=(8, 6))
plt.scatter(goals, assists, s=80)
for player, x, y in zip(players, goals, assists):
    plt.annotate(player["name"], (x, y), xytext=(6, 6), textcoords="offset points")
plt.xlabel("Goals")
plt.ylabel("Assists")
plt.title("Players")
plt.show()
print("shown")
"""

PROMPTS = {
    "bars": ("Draw two bar charts side by side in seaborn's talk style.", BARS),
    "map": ("Draw a world map with Germany and Spain in red, with geopandas.", MAP),
    "players": ("Draw a scatter plot of players, each labelled with the name.", PLAYERS),
}


def box(west: float, south: float, east: float, north: float) -> list[list[list[float]]]:
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


COUNTRIES = {
    "Brazil": box(-70, -30, -35, 0),
    "Canada": box(-130, 50, -60, 70),
    "China": box(78, 22, 125, 48),
    "Egypt": box(25, 22, 36, 31),
    "France": box(-4, 43, 7, 50),
    "Germany": box(7, 47.5, 15, 55),
    "Spain": box(-9, 36.5, 3, 43),
    "United States": box(-124, 26, -68, 49),
}
"""Rough outlines: degrees of longitude and latitude."""
NAMES = ("Ada", "Berta", "Chlo\u00e9", "D\u0142ugosz", "\u674e")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an environment and data, which a sandbox can read if the tests run as root."""
    if not ENVIRONMENT.exists():
        reason = "plots are not in .editors; `make test-plots` installs them"
        if os.environ.get("STARCODER_LSP_PLOTS") == "required":
            pytest.fail(reason)
        pytest.skip(OPTIONAL + reason)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".venv").symlink_to(ENVIRONMENT)
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "Polygon", "coordinates": outline},
        }
        for name, outline in COUNTRIES.items()
    ]
    world = {"type": "FeatureCollection", "features": features}
    (folder / "countries.geojson").write_text(json.dumps(world))
    rows = [f"{name},{5 * index + 2},{(7 * index) % 11}" for index, name in enumerate(NAMES)]
    (folder / "players.csv").write_text("\n".join(["name,goals,assists", *rows]))
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)
    return folder


async def answer_and_run(project: Path, name: str) -> dict[str, Any]:
    prompt, code = PROMPTS[name]
    answer = f"Run this:\n\n```python\n{code}```\n"
    folders = [types.WorkspaceFolder(project.as_uri(), "project")]
    settings = {"runTests": "always"}
    async with start(scripted(answer), settings=settings, folders=folders) as editor:
        conversation = (await editor.request("starcoder/chat/create"))["id"]
        params = {"conversation": conversation, "text": prompt}
        turn = (await editor.request("starcoder/chat/send", params))["turn"]
        block = {"conversation": conversation, "turn": turn["id"], "block": 0}
        result: dict[str, Any] = await editor.request("starcoder/chat/run", block)
        return result


def saved_picture(name: str, figure: str) -> bytes:
    """Save a figure where the screenshots of editors are, and return it."""
    data = base64.b64decode(figure)
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"plot-{name}.png").write_bytes(data)
    return data


def size(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize(
    ("name", "output", "min_width"), [("bars", "", 1000), ("map", "8 countries", 700)]
)
async def test_the_plot_of_an_answer_is_shown(
    project: Path, name: str, output: str, min_width: int
) -> None:
    done = await answer_and_run(project, name)
    assert (done["outcome"], done["output"]) == ("passed", output)
    (figure,) = done["figures"]
    width, height = size(saved_picture(name, figure))
    assert width > min_width
    assert 300 < height < width


async def test_a_name_that_the_font_does_not_have_is_only_a_warning(project: Path) -> None:
    done = await answer_and_run(project, "players")
    assert done["outcome"] == "passed"
    assert done["output"].endswith("shown")
    assert "Traceback" not in done["output"]
    assert "cannot be shown" not in done["output"]  # that is what `show` of Agg says
    (figure,) = done["figures"]
    saved_picture("players", figure)


async def test_figures_are_shown_once_and_not_without_limit(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import matplotlib.pyplot as plt\n"
        "for _ in range(4):\n    plt.figure(figsize=(1, 1))\n"
        "plt.show()\nplt.show()\n"
        "for _ in range(6):\n    plt.figure(figsize=(1, 1))\n"
        "raise ValueError('the end')\n"
    )
    monkeypatch.setitem(PROMPTS, "many", ("Draw many.", code))
    done = await answer_and_run(project, "many")
    assert done["outcome"] == "failed"
    assert done["output"].endswith("ValueError: the end\n[2 more or larger figures are not shown.]")
    assert len(done["figures"]) == 8

"""The example files of docs/team are valid, and name only metrics and options that exist."""

import ast
import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer.main
import yaml

from engine.scripted import ScriptedEngine
from lsp_server.cli.app import app
from tests.conftest import OPTIONAL
from tests.engine.server.serving import serving
from tests.team.programs import installed_program

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/team"
METRIC = re.compile(r"\bstarcoder_[a-z0-9_]+")


def promtool() -> str:
    return installed_program("promtool", "prometheus")


def expressions(value: Any) -> Iterator[str]:
    """The PromQL expressions in a parsed file."""
    if isinstance(value, dict):
        if isinstance(expression := value.get("expr"), str):
            yield expression
        for each in value.values():
            yield from expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from expressions(each)


async def metric_names() -> set[str]:
    """All series that a server has after one request."""
    engine = ScriptedEngine(lambda _: "abc")
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        await plain.post("/v1/completions", json={"prompt": "x", "max_tokens": 3, "n": 2})
        await plain.post("/v1/completions", json={"prompt": "x", "max_tokens": 3})
        text = (await plain.get("/metrics")).text
    return set(re.findall(r"^(starcoder_\w+)", text, re.M))


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
async def test_alerts_and_dashboard_use_metrics_that_exist(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    parsed = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    used = {metric for each in expressions(parsed) for metric in METRIC.findall(each)}
    assert len(used) > 2
    assert used - await metric_names() == set()


@pytest.mark.parametrize(
    "arguments", [("config", "prometheus.yml"), ("rules", "alerts.yml")], ids=str
)
def test_prometheus_accepts_its_files(arguments: tuple[str, str]) -> None:
    subprocess.run([promtool(), "check", *arguments], cwd=FOLDER, check=True, timeout=60)


async def test_promtool_has_no_objection_to_the_names_of_the_metrics() -> None:
    engine = ScriptedEngine(lambda _: "abc")
    command = promtool()
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as plain:
        await plain.post("/v1/completions", json={"prompt": "x", "max_tokens": 3})
        content = (await plain.get("/metrics")).content
    checked = await asyncio.to_thread(
        subprocess.run, [command, "check", "metrics"], input=content, capture_output=True
    )
    assert (checked.returncode, checked.stderr + checked.stdout) == (0, b"")


def test_the_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    dashboard = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
    rules = [
        {"record": f"panel:{number}", "expr": each}
        for number, each in enumerate(expressions(dashboard))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    subprocess.run([promtool(), "check", "rules", str(file)], check=True, timeout=60)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip(OPTIONAL + "systemd-analyze is missing")
    program = "/opt/starcoder/bin/starcoder-lsp"
    text = (FOLDER / "starcoder.service").read_text(encoding="utf-8")
    assert program in text
    unit = tmp_path / "starcoder.service"
    unit.write_text(text.replace(program, sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # Other units of this machine may be missing.
    problems = [line for line in verified.stderr.splitlines() if "starcoder.service" in line]
    assert problems == []


def options_of(command: str) -> set[str]:
    root = typer.main.get_command(app)
    parameters = root.commands[command].params  # type: ignore[attr-defined]
    return {option for parameter in parameters for option in parameter.opts}


def test_the_options_of_serve_in_the_examples_exist() -> None:
    texts = [file.read_text(encoding="utf-8") for file in sorted(FOLDER.iterdir())]
    commands = re.findall(r"starcoder-lsp serve((?: .*|\\\n)*)", "\n".join(texts))
    used = {option for each in commands for option in re.findall(r"(--[a-z-]+)", each)}
    assert len(used) > 2
    assert used - options_of("serve") == set()


def test_a_unit_waits_longer_than_the_server_drains() -> None:
    text = (FOLDER / "starcoder.service").read_text(encoding="utf-8")
    drain, stop = re.search(r"--drain-seconds (\d+)", text), re.search(r"StopSec=(\d+)", text)
    assert drain is not None
    assert stop is not None
    assert int(stop[1]) >= int(drain[1]) + 10


def test_the_other_files_can_be_read() -> None:
    litellm = yaml.safe_load((FOLDER / "litellm.yaml").read_text(encoding="utf-8"))
    models = [each["litellm_params"]["model"] for each in litellm["model_list"]]
    assert [model.partition("/")[0] for model in models] == ["text-completion-openai", "openai"]
    ast.parse((FOLDER / "ray_serve.py").read_text(encoding="utf-8"))

"""The VS Code manifest knows the server's settings, and what it names is there."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

from lsp_server import __version__

FOLDER = Path(__file__).parents[2] / "editors" / "vscode"
MANIFEST = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manifest", FOLDER / "manifest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_are_those_of_the_server() -> None:
    """Run `python editors/vscode/manifest.py` after a setting changed."""
    assert MANIFEST["contributes"]["configuration"]["properties"] == generator().properties()


def test_every_setting_has_a_type_that_its_default_fits() -> None:
    names = {
        "str": "string",
        "bool": "boolean",
        "int": "integer",
        "float": "number",
        "list": "array",
        "NoneType": "null",
    }
    for name, field in MANIFEST["contributes"]["configuration"]["properties"].items():
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        assert names[type(field["default"]).__name__] in kinds, name
        assert field["markdownDescription"].endswith("."), name


def test_files_that_are_named_are_there() -> None:
    named = [MANIFEST["icon"]]
    for steps in MANIFEST["contributes"]["walkthroughs"]:
        named += [step["media"]["markdown"] for step in steps["steps"]]
    named += [one["icon"] for one in MANIFEST["contributes"]["viewsContainers"]["activitybar"]]
    assert [name for name in named if not (FOLDER / name).exists()] == []


def test_its_version_is_ours() -> None:
    assert MANIFEST["version"] == __version__


def test_every_command_of_a_menu_is_one() -> None:
    commands = {one["command"] for one in MANIFEST["contributes"]["commands"]}
    menus = MANIFEST["contributes"]["menus"].values()
    assert {one["command"] for menu in menus for one in menu if "command" in one} <= commands

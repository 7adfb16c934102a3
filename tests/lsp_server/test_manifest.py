"""The VS Code manifest contains the server settings; the files and commands it names exist."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

from lsp_server import __version__

FOLDER = Path(__file__).parents[2] / "editors" / "vscode"
MANIFEST = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
CONTRIBUTES = MANIFEST["contributes"]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manifest", FOLDER / "manifest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manifest_contains_the_settings_of_the_server() -> None:
    """If this fails, run `python editors/vscode/manifest.py`."""
    assert CONTRIBUTES["configuration"]["properties"] == load_generator().properties()


def test_each_default_matches_the_type_of_its_setting() -> None:
    json_types = {
        "str": "string",
        "bool": "boolean",
        "int": "integer",
        "float": "number",
        "list": "array",
        "NoneType": "null",
    }
    for name, field in CONTRIBUTES["configuration"]["properties"].items():
        allowed = field["type"] if isinstance(field["type"], list) else [field["type"]]
        assert json_types[type(field["default"]).__name__] in allowed, name
        assert field["markdownDescription"].endswith("."), name


HARMLESS = {
    f"starcoder.{name}"
    for name in (
        "enabled",
        "disabledLanguages",
        "dtype",
        "device",
        "contextWindow",
        "idleTimeoutSeconds",
        "maxNewTokens",
        "maxPromptTokens",
        "multiline",
        "promptForm",
        "relatedFiles",
        "recentEdits",
        "diagnostics",
        "projectMemory",
        "eagerness",
        "debounceMs",
        "statistics",
        "chatFormat",
        "chatMaxNewTokens",
        "logLevel",
    )
}
"""Settings that a workspace may change before it is trusted. They name no program, model, engine or
text for the model, and permit nothing that the user has forbidden."""


def test_an_untrusted_workspace_changes_only_harmless_settings() -> None:
    """A new setting must be added either to the restricted ones or to `HARMLESS`."""
    restricted = MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]
    assert len(restricted) == len(set(restricted))
    assert set(restricted).isdisjoint(HARMLESS)
    assert {*restricted, *HARMLESS} == CONTRIBUTES["configuration"]["properties"].keys()


def test_all_named_files_exist() -> None:
    names = [MANIFEST["icon"]]
    for walkthrough in CONTRIBUTES["walkthroughs"]:
        names += [step["media"]["markdown"] for step in walkthrough["steps"]]
    names += [container["icon"] for container in CONTRIBUTES["viewsContainers"]["activitybar"]]
    assert [name for name in names if not (FOLDER / name).exists()] == []


def test_the_extension_has_the_version_of_the_server() -> None:
    assert MANIFEST["version"] == __version__


def test_menus_contain_only_declared_commands() -> None:
    commands = {command["command"] for command in CONTRIBUTES["commands"]}
    items = [item for menu in CONTRIBUTES["menus"].values() for item in menu]
    assert {item["command"] for item in items if "command" in item} <= commands

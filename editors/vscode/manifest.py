"""Generate the settings in package.json from the schema of the server's settings.

Run `python editors/vscode/manifest.py` after a change of the settings. A test compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsp_server.settings import Settings, schema

MANIFEST = Path(__file__).with_name("package.json")

CLIENT_SETTINGS: dict[str, Any] = {
    "starcoder.serverCommand": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "scope": "machine-overridable",
        "order": 0,
        "markdownDescription": "The server and its arguments. If empty, the extension looks for "
        "`starcoder-lsp` in the environment of the selected Python, in the workspace's `.venv`, "
        "on the PATH, in `~/.local/bin`, and in the clone in which it was packaged.",
    }
}
"""Settings that only the extension uses."""
MACHINE_SETTINGS = frozenset({"engineToken", "device", "dtype"})
"""Settings that a workspace cannot change."""
SCHEMA_KEYS = ("type", "enum", "items", "minimum", "maximum", "pattern")
"""Keys of the JSON schema that VS Code understands too."""


def properties() -> dict[str, Any]:
    """Return the settings in the format of VS Code's manifest."""
    manifest = dict(CLIENT_SETTINGS)
    for order, (name, field) in enumerate(schema()["properties"].items(), start=1):
        flat = _without_any_of(field)
        default = Settings.model_fields[_field_of(name)].default
        manifest[f"starcoder.{name}"] = {
            **{key: flat[key] for key in SCHEMA_KEYS if key in flat},
            "default": list(default) if isinstance(default, tuple) else default,
            "order": order,
            "markdownDescription": field["description"],
            **({"scope": "machine"} if name in MACHINE_SETTINGS else {}),
        }
    return manifest


def _field_of(alias: str) -> str:
    return next(name for name, field in Settings.model_fields.items() if field.alias == alias)


def _without_any_of(field: dict[str, Any]) -> dict[str, Any]:
    """Merge the options of `anyOf` into a list of types, or into one list of words."""
    options = field.get("anyOf")
    if options is None:
        return field | ({"enum": [field["const"]], "type": "string"} if "const" in field else {})
    words = [
        word
        for option in options
        for word in option.get("enum", [option["const"]] if "const" in option else [])
    ]
    if words:
        return {"type": "string", "enum": words}
    merged = {key: value for option in options for key, value in option.items() if key != "type"}
    return {**merged, "type": [option["type"] for option in options]}


def main() -> None:
    """Rewrite the settings in the manifest."""
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    manifest["contributes"]["configuration"]["properties"] = properties()
    MANIFEST.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

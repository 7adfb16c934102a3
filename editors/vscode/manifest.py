"""Write the settings of the server into package.json, as its schema tells them.

Run as `python editors/vscode/manifest.py` after a setting changed; a test compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lsp_server.settings import Settings, schema

MANIFEST = Path(__file__).with_name("package.json")

OWN = {
    "starcoder.serverCommand": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "scope": "machine-overridable",
        "order": 0,
        "markdownDescription": "The server and its arguments. Empty looks for `starcoder-lsp` in "
        "the chosen Python's environment, in the workspace's `.venv`, and on the PATH.",
    }
}
MACHINE = frozenset({"engineToken", "device", "dtype"})
"""What belongs to this machine rather than to a workspace."""


def properties() -> dict[str, Any]:
    """Return the settings as a manifest has them."""
    made: dict[str, Any] = dict(OWN)
    described = schema()["properties"]
    for order, (name, field) in enumerate(described.items(), start=1):
        found = _flat(field)
        default = Settings.model_fields[_field_of(name)].default
        made[f"starcoder.{name}"] = {
            **{
                key: found[key]
                for key in ("type", "enum", "items", "minimum", "maximum", "pattern")
                if key in found
            },
            "default": list(default) if isinstance(default, tuple) else default,
            "order": order,
            "markdownDescription": field["description"],
            **({"scope": "machine"} if name in MACHINE else {}),
        }
    return made


def _field_of(alias: str) -> str:
    return next(name for name, one in Settings.model_fields.items() if one.alias == alias)


def _flat(field: dict[str, Any]) -> dict[str, Any]:
    """Return what `anyOf` says as one type, which may be null, or as one list of words."""
    options = field.get("anyOf")
    if options is None:
        return field | ({"enum": [field["const"]], "type": "string"} if "const" in field else {})
    words = [
        word
        for one in options
        for word in one.get("enum", [one["const"]] if "const" in one else [])
    ]
    if words:
        return {"type": "string", "enum": words}
    merged = {key: value for one in options for key, value in one.items() if key != "type"}
    return {**merged, "type": [one["type"] for one in options]}


def main() -> None:
    """Rewrite the manifest's configuration."""
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    manifest["contributes"]["configuration"]["properties"] = properties()
    MANIFEST.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

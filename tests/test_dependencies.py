"""The rules about which module may import which, checked against the imports in the source.

See ARCHITECTURE.md, "Who may import whom". Imports inside functions and under TYPE_CHECKING count.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lsp_server", "fim", "chat", "syntax", "engine", "training")
HEAVY = {"torch", "transformers", "accelerate"}

CONTRACTS = ("engine.api", "engine.errors", "engine.tokenizer")
"""The modules of the engine that a caller needs to generate text."""
LIGHT_ENGINE = (
    *CONTRACTS,
    "engine.settings",
    "engine.arguments",
    "engine.client",
    "engine.scripted",
    "engine.machine",
    "engine.decoding.stop_text",
)
"""Modules that start immediately, because they hold no model."""

LSP_SERVER_BASE = ("lsp_server.settings", "lsp_server.logs", "lsp_server.__version__")
"""What each folder of lsp_server may import."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "syntax": (),
    "fim": (*CONTRACTS, "syntax"),
    "chat": (*CONTRACTS, "syntax"),
    # StarChat's recipe evaluates with the rendering of the server and installs the trained adapter.
    "chat.training": ("chat", "engine", "training"),
    "lsp_server": ("fim", "chat", "syntax", *LIGHT_ENGINE),
    # Inside lsp_server: handlers above session above settings and logs.
    "lsp_server.settings": ("fim", "chat", *LIGHT_ENGINE),
    "lsp_server.logs": (),
    "lsp_server.session": (*LSP_SERVER_BASE, "fim", "chat", "syntax", *LIGHT_ENGINE),
    "lsp_server.handlers": (
        *LSP_SERVER_BASE,
        "lsp_server.session",
        "fim",
        "chat",
        "syntax",
        *LIGHT_ENGINE,
    ),
    # Each command is a process of its own: `serve` is the engine, `models` checks what fits.
    "lsp_server.cli": ("lsp_server", "fim", "chat", "syntax", "engine", "training"),
    "engine": (),
    # One list of patterns for secrets, for training data and for suggestions.
    "training": ("fim.secrets",),
}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield module_name(file), file


def imports(file: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def allowed_for(module: str) -> tuple[str, ...]:
    owner = max((rule for rule in ALLOWED if within(module, (rule,))), key=len)
    return (*ALLOWED[owner], owner)


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: str(value))
def test_a_module_imports_only_what_it_may(module: str, file: Path) -> None:
    ours = [name for name in imports(file) if within(name, PACKAGES)]
    wrong = [name for name in ours if not within(name, allowed_for(module))]
    assert not wrong, f"{module} may not import {wrong}"


def test_handlers_do_not_import_each_other() -> None:
    handlers = [(name, file) for name, file in modules() if within(name, ("lsp_server.handlers",))]
    assert handlers
    for name, file in handlers:
        wrong = [other for other in imports(file) if within(other, ("lsp_server.handlers",))]
        assert not wrong, f"{name} may not import {wrong}"


def is_light(module: str) -> bool:
    if within(module, ("training", "chat.training")):
        return False
    return not within(module, ("engine",)) or within(module, LIGHT_ENGINE)


@pytest.mark.parametrize(
    ("module", "file"),
    [(name, file) for name, file in modules() if is_light(name)],
    ids=lambda value: str(value),
)
def test_no_module_of_the_editors_process_imports_torch(module: str, file: Path) -> None:
    heavy = {name.split(".")[0] for name in imports(file)} & HEAVY
    if within(module, ("lsp_server.cli",)):
        return  # a command may report on the GPU; editors do not talk to its process
    assert not heavy, f"{module} imports {heavy}"


def test_imports_are_found() -> None:
    """Without this test, a parser that finds no imports would let all rules pass."""
    names = {name for _, file in modules() for name in imports(file)}
    assert "engine.api.GenerationRequest" in names
    assert "torch" in names

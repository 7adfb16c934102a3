"""The import rules of the architecture, checked against the imports of all modules.

See ARCHITECTURE.md, "Who may import whom". Imports inside functions and under TYPE_CHECKING count.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("lsp_server", "fim", "chat", "syntax", "sandbox", "engine", "training", "workspace")
"""The packages that are shipped."""
NOT_SHIPPED = ("benchmarks", "tests")
"""Packages that no shipped module may import."""
HEAVY = {"torch", "transformers", "accelerate"}

CONTRACT = ("engine.api", "engine.errors", "engine.tokenizer")
"""The modules of the engine that a package needs to request generated text."""
LIGHT_ENGINE = (
    *CONTRACT,
    "engine.settings",
    "engine.logs",
    "engine.machine",
    "engine.private_files",
    "engine.unix_socket",
    "engine.client",
    "engine.scripted",
    "engine.decoding.stop_text",
)
"""The modules of the engine that the language server's process may import."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "syntax": (),
    "workspace": (),
    "sandbox": ("engine.errors",),
    "fim": (*CONTRACT, "syntax", "workspace"),
    # An adapter is trained and measured with the prompts of completion.
    "fim.training": ("fim", "engine", "training"),
    # Conversations are private, and so is their file.
    "chat": (*CONTRACT, "engine.private_files", "syntax", "workspace", "sandbox"),
    # StarChat's recipe measures with the rendering that serves, and installs its adapters.
    "chat.training": ("chat", "engine", "training"),
    "lsp_server": ("fim", "chat", "syntax", "workspace", "sandbox", *LIGHT_ENGINE),
    # Each command is a process of its own, and some of them load a model.
    "lsp_server.cli": ("lsp_server", "fim", "chat", "syntax", "sandbox", "engine", "training"),
    "engine": (),
    # The same list of secrets is used for training data and for suggestions.
    "training": ("fim.secrets", "workspace"),
}
"""What each package may import besides itself. The longest matching entry counts."""

STARTS_PROCESSES = {
    "engine/client/managed.py": "the engine",
    "engine/kernels/build.py": "the C++ compiler",
    "sandbox/sandbox.py": "generated programs, isolated",
    "sandbox/exchange.py": "the same",
    "sandbox/own_child.py": "the same",
    "sandbox/user_namespace.py": "the same",
    "chat/tasks/checking/command_program.py": "test runners, in the sandbox",
    "chat/tasks/checking/python/program.py": "copies of itself, in the sandbox",
    "lsp_server/cli/doctor.py": "editors, to ask for their versions",
    "training/sources.py": "pip, npm and apt, for the corpus of the demo model",
    "workspace/git.py": "git, without the programs that a repository names",
}
"""The modules that may start other programs, and which ones."""

LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "engine": (
        (
            "api",
            "errors",
            "settings",
            "architecture",
            "model_config",
            "token_bytes",
            "stream_decoder",
            "tokenizer",
            "machine",
            "logs",
            "private_files",
            "unix_socket",
        ),
        ("kernels",),
        ("kv_cache",),
        ("network",),
        ("decoding", "loading"),
        ("scheduling",),
        ("local", "scripted", "client"),
        ("server",),
        ("__main__",),
    ),
    "fim": (
        ("snapshot", "settings", "secrets"),
        ("prompt", "postprocess"),
        ("memory",),
        ("context", "request"),
        ("completer",),
        ("evaluation", "training"),
    ),
    "lsp_server": (
        ("settings", "logs", "framing", "allocator", "__version__"),
        ("session",),
        ("handlers",),
        ("registration", "connection"),
        ("stdio", "sockets"),
        ("cli",),
        ("__main__",),
    ),
}
"""The parts of a package from the bottom to the top. A part imports only from parts below it.

Parts in the same layer do not import each other. Modules at the bottom layer may.
"""


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield module_name(file), file


def imports(file: Path) -> Iterator[str]:
    """Dotted names that a file imports; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def forbidden(module: str, imported: Iterable[str]) -> list[str]:
    """The imports of a module that the rules for packages do not allow."""
    owner = max((rule for rule in ALLOWED if within(module, (rule,))), key=len)
    allowed = (*ALLOWED[owner], owner)
    ours = (*PACKAGES, *NOT_SHIPPED)
    return [name for name in imported if within(name, ours) and not within(name, allowed)]


def layer_of(module: str) -> tuple[str, int] | None:
    """The part of a package to which a module belongs, and the number of its layer."""
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0]
    for number, layer in enumerate(LAYERS.get(package, ())):
        if part in layer:
            return part, number
    return None


def upward(module: str, imported: Iterable[str]) -> list[str]:
    """The imports of a module that go upwards or sideways within its package."""
    package, own = module.partition(".")[0], layer_of(module)
    if own is None:
        return []
    upward_imports = []
    for name in imported:
        other = layer_of(name) if within(name, (package,)) else None
        if other is None or other[0] == own[0]:
            continue
        is_sideways = other[1] == own[1] and own[1] > 0
        if other[1] > own[1] or is_sideways:
            upward_imports.append(name)
    return upward_imports


def import_graph() -> dict[str, set[str]]:
    """The modules that each module imports."""
    files = dict(modules())
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        graph[name] = set()
        for target in imports(file):
            while target and target not in files:
                target = target.rpartition(".")[0]
            if target and target != name:
                graph[name].add(target)
    return graph


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of an import cycle, empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: str(value))
def test_a_module_imports_only_allowed_packages_and_lower_layers(module: str, file: Path) -> None:
    names = list(imports(file))
    assert not forbidden(module, names), f"{module} may not import {forbidden(module, names)}"
    assert not upward(module, names), f"{module} imports upwards: {upward(module, names)}"


def test_every_module_of_a_layered_package_has_a_layer() -> None:
    without = [
        name
        for name, _ in modules()
        if name.partition(".")[0] in LAYERS and "." in name and layer_of(name) is None
    ]
    assert not without


def test_there_is_no_import_cycle() -> None:
    assert cycle_in(import_graph()) == []


def test_handlers_do_not_import_each_other() -> None:
    handlers = [(name, file) for name, file in modules() if within(name, ("lsp_server.handlers",))]
    assert handlers
    for name, file in handlers:
        others = [other for other in imports(file) if within(other, ("lsp_server.handlers",))]
        assert not others, f"{name} may not import {others}"


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("engine.kernels.build", "engine.kv_cache.cache.KVCache"),
        ("engine.kv_cache.pool", "engine.network.lora.Adapter"),
        ("engine.network.batch", "engine.decoding.sequence.Step"),
        ("engine.loading.load", "engine.decoding.draft_model.DraftModel"),
        ("engine.decoding.generation", "engine.loading.load.Loaded"),
        ("engine.decoding.generation", "engine.scheduling.job.Job"),
        ("engine.scheduling.scheduler", "engine.local.LocalEngine"),
        ("engine.tokenizer", "engine.decoding.vocabulary.Vocabulary"),
        ("fim.prompt.build", "fim.request.model.FimModel"),
        ("fim.request.model", "fim.completer.Completer"),
        ("lsp_server.session.server", "lsp_server.handlers.chat"),
    ],
)
def test_an_upward_import_is_recognized(module: str, imported: str) -> None:
    assert upward(module, [imported]) == [imported]


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("fim.completer", "chat.asker.Asker"),
        ("chat.asker", "fim.completer.Completer"),
        ("engine.api", "fim.snapshot.Snapshot"),
        ("lsp_server.session.server", "engine.loading.load.load"),
        ("syntax.symbols", "engine.errors.StarcoderError"),
        ("engine.local", "benchmarks.common.ours"),
        ("lsp_server.cli.app", "tests.checkpoint_maker.make_checkpoint"),
    ],
)
def test_a_forbidden_package_is_recognized(module: str, imported: str) -> None:
    assert forbidden(module, [imported]) == [imported]


def test_a_cycle_is_recognized() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not cycle_in({"a": {"b"}, "b": {"c"}, "c": set()})


def is_light(module: str) -> bool:
    if within(module, ("training", "chat.training", "fim.training")):
        return False
    return not within(module, ("engine",)) or within(module, LIGHT_ENGINE)


@pytest.mark.parametrize(
    ("module", "file"),
    # A command may use the GPU. `engine.machine` asks torch about GPUs when it is called.
    [
        (name, file)
        for name, file in modules()
        if is_light(name) and not within(name, ("lsp_server.cli", "engine.machine"))
    ],
    ids=lambda value: str(value),
)
def test_the_language_server_does_not_import_torch(module: str, file: Path) -> None:
    heavy = {name.split(".")[0] for name in imports(file)} & HEAVY
    assert not heavy, f"{module} imports {heavy}"


def test_the_light_modules_do_not_load_torch() -> None:
    """The modules directly in engine/, and those of the language server, load no heavy package."""
    names = [
        name
        for name, file in modules()
        if (is_light(name) or (within(name, ("engine",)) and file.parent == ROOT / "engine"))
        and not name.endswith("__main__")
        and not within(name, ("lsp_server.cli", "fim.evaluation"))
    ]
    assert "engine.local" in names
    script = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names!r}];"
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert run.stdout.strip() == "[]"


def test_the_imports_are_really_read() -> None:
    """A reader without results would let every other test here pass."""
    names = {name for _, file in modules() for name in imports(file)}
    assert "engine.api.GenerationRequest" in names
    assert "torch" in names
    assert "engine.errors" in import_graph()["engine.loading.load"]


def test_only_the_listed_modules_start_other_programs() -> None:
    """A workspace must not be able to run anything: see SECURITY.md."""
    starting = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if re.search(
            r"\bsubprocess\b|create_subprocess|os\.(exec|spawn|posix_spawn|system|popen|fork)\b",
            file.read_text(encoding="utf-8"),
        )
    }
    assert starting == STARTS_PROCESSES.keys()

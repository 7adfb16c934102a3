"""The documentation names only files, headings, modules and commands that exist."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main

from lsp_server.cli.app import app
from training.__main__ import app as training_app

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "benchmarks",
    "chat",
    "engine",
    "fim",
    "lsp_server",
    "syntax",
    "training",
    "workspace",
    "tests",
)

FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.M | re.S)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)#* *$", re.M)
MODULE_RUN = re.compile(r"\bpython3? -m ([a-z_][\w.]*)")
FILE = re.compile(
    r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|pyi|md|cpp|h|ts|js|mjs|lua|toml|json|svg|png|txt))`"
)
FOLDER = re.compile(rf"`((?:{'|'.join(PACKAGES)}|docs|editors)(?:/[\w.-]+)*)/`")
DOTTED = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)[`(:]")
TRAINING = re.compile(r"python3? -m training ([a-z][a-z-]*)")
COMMAND = re.compile(r"(?:^|[`/ ])starcoder-lsp ([a-z]+)(?: (chat|code|list|remove)\b)?", re.M)


def markdown_files() -> list[Path]:
    """Return the Markdown files that git tracks, and new ones that it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in map(ROOT.joinpath, sorted(set(listed.split("\n")))) if path.is_file()]


FILES = markdown_files()
every_document = pytest.mark.parametrize(
    "document", FILES, ids=lambda path: str(path.relative_to(ROOT))
)


@cache
def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub derives them."""
    counts: dict[str, int] = {}
    for heading in HEADING.findall(FENCE.sub("", document.read_text(encoding="utf-8"))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        counts[slug] = counts.get(slug, -1) + 1
        if counts[slug]:
            counts[f"{slug}-{counts[slug]}"] = 0
    return set(counts)


def links(document: Path) -> Iterator[str]:
    text = CODE.sub("", FENCE.sub("", document.read_text(encoding="utf-8")))
    for target in LINK.findall(text):
        if not re.match(r"[a-z]+:", target):
            yield target


def code_in(document: Path) -> str:
    """Return a document's code blocks and inline code, one per line."""
    text = document.read_text(encoding="utf-8")
    blocks = [match[0] for match in FENCE.finditer(text)]
    return "\n".join([*blocks, *CODE.findall(FENCE.sub("", text))])


def broken_link(document: Path, target: str) -> str | None:
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    if not file.exists():
        return f"{target}: there is no such file"
    if anchor and anchor not in anchors(file):
        return f"{target}: {file.name} has no heading with this anchor"
    return None


def module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def exists_in_code(name: str) -> bool:
    """Whether a dotted name is a module, or is defined at the top of one or in a class of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        file = module_file(".".join(parts[:count]))
        if file is not None:
            text = file.read_text(encoding="utf-8")
            rest = parts[count:]
            return all(
                re.search(rf"^ *(?:(?:async )?def |class )?{part}\b *(?:[(:=\[]|$)", text, re.M)
                for part in rest
            )
    return False


def command_names() -> set[tuple[str, ...]]:
    root = typer.main.get_command(app)
    tune = root.commands["tune"]  # type: ignore[attr-defined]
    names = {(name,) for name in root.commands}  # type: ignore[attr-defined]
    return names | {("tune", name) for name in tune.commands}


@every_document
def test_every_relative_link_and_anchor_resolves(document: Path) -> None:
    problems = [problem for link in links(document) if (problem := broken_link(document, link))]
    assert not problems


@every_document
def test_every_module_that_is_run_exists(document: Path) -> None:
    names = MODULE_RUN.findall(document.read_text(encoding="utf-8"))
    ours = {name for name in names if name.split(".")[0] in PACKAGES}
    assert not [name for name in sorted(ours) if module_file(name) is None]


@every_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    names = FILE.findall(document.read_text(encoding="utf-8"))
    bases = (ROOT, document.parent, ROOT / "editors/vscode")
    assert not [name for name in names if not any((base / name).is_file() for base in bases)]


@every_document
def test_every_folder_that_is_named_exists(document: Path) -> None:
    names = FOLDER.findall(document.read_text(encoding="utf-8"))
    assert not [name for name in names if not (ROOT / name).is_dir()]


@every_document
def test_every_dotted_name_exists(document: Path) -> None:
    names = DOTTED.findall(document.read_text(encoding="utf-8"))
    assert not [name for name in names if not exists_in_code(name)]


@every_document
def test_every_command_exists(document: Path) -> None:
    pairs = COMMAND.findall(code_in(document))
    used = {(first, second) if first == "tune" and second else (first,) for first, second in pairs}
    assert not used - command_names()


@every_document
def test_every_training_command_exists(document: Path) -> None:
    used = set(TRAINING.findall(document.read_text(encoding="utf-8")))
    assert not used - set(typer.main.get_command(training_app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("target", "is_broken"),
    [
        ("README.md", False),
        ("docs/engine.md", False),
        ("docs/no-such-page.md", True),
        ("README.md#licence", False),
        ("README.md#no-such-heading", True),
    ],
)
def test_the_check_itself_finds_what_is_broken(target: str, is_broken: bool) -> None:
    assert (broken_link(ROOT / "ARCHITECTURE.md", target) is not None) is is_broken


def test_the_check_itself_reads_links_modules_and_names() -> None:
    """A pattern that matches nothing would let everything pass."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert list(links(ROOT / "README.md"))
    assert "benchmarks.pipeline" in MODULE_RUN.findall(text)
    assert exists_in_code("engine.api.GenerationRequest")
    assert not exists_in_code("engine.api.NoSuchName")
    assert not exists_in_code("engine.no_such_module")


def test_the_threat_model_names_only_tests_that_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:tests|editors/vscode/test)/[^`]*)`", text)
    assert len(names) > 20
    assert [name for name in names if not any(ROOT.glob(name))] == []

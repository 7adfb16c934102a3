"""The names in Python code: which ones it imports, defines and uses."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import RequestError

_UNPARSABLE = "code that does not parse"
"""Name that stands for the unknown names of such code. No code defines this name."""


@dataclass(frozen=True, slots=True)
class Import:
    """The import of one name."""

    module: str
    name: str = ""
    """The name imported from the module, empty if the module itself is imported."""
    alias: str = ""

    @property
    def bound_name(self) -> str:
        """The name that the import defines in the file."""
        return self.alias or self.name or self.top_module

    @property
    def top_module(self) -> str:
        """The first part of the module's dotted name."""
        return self.module.split(".")[0]

    @property
    def line(self) -> str:
        """The import statement."""
        end = f" as {self.alias}" if self.alias else ""
        if self.name:
            return f"from {self.module} import {self.name}{end}"
        return f"import {self.module}{end}"


def find_imports(code: str) -> list[Import]:
    """Return the absolute imports at the top level of code; none if the code does not parse."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    imports = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            imports += [Import(alias.name, "", alias.asname or "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports += [Import(node.module, alias.name, alias.asname or "") for alias in node.names]
    return imports


def import_lines(imports: Iterable[Import]) -> list[str]:
    """Return sorted import lines. What is imported from the same module is in the same line."""
    names: dict[str, list[str]] = {}
    lines = []
    for imported in imports:
        if imported.name:
            name = f"{imported.name} as {imported.alias}" if imported.alias else imported.name
            names.setdefault(imported.module, []).append(name)
        else:
            lines.append(imported.line)
    for module, own in names.items():
        lines.append(f"from {module} import {', '.join(sorted(set(own)))}")
    return sorted(lines)


def top_level_names(code: str) -> set[str]:
    """Return the names that a module defines or imports at its top level; none if it is broken."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def module_name(path: Path, project: Path, import_root: Path | None) -> str:
    """Return the dotted name by which a file is imported.

    The name begins below `import_root`, if the project's tests import from there. Else it begins
    below the folder that contains the outermost package. For a file outside any package it begins
    below `src` or the project's folder.

    Raises RequestError if no import statement can name the file.
    """
    top = import_root or _folder_of_packages(path)
    if import_root is None and top == path.parent and path.is_relative_to(project):
        top = project / "src" if path.is_relative_to(project / "src") else project
    parts = [*path.parent.relative_to(top).parts, path.name.removesuffix(".py")]
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    _check_importable(path, parts)
    return ".".join(parts)


def _folder_of_packages(path: Path) -> Path:
    """Return the folder that contains the outermost package around a file."""
    top = path.parent
    while (top / "__init__.py").exists() and top != top.parent:
        top = top.parent
    return top


def _check_importable(path: Path, parts: list[str]) -> None:
    if path.suffix != ".py":
        raise RequestError(
            f"A test cannot import {path.name}, because its name does not end in .py. Move the "
            "code into a module, and put the cursor there."
        )
    for part in parts:
        if not part.isidentifier() or keyword.iskeyword(part):
            name = f"{part}.py" if part == parts[-1] and path.name == f"{part}.py" else part
            raise RequestError(
                f"A test cannot import {path.name}, because {name} is not a valid name in a Python "
                "import. Rename it, for example to a name of letters and underscores."
            )
    if parts[0] in ("__init__", "__main__"):
        raise RequestError(
            f"A test cannot import {path.name}, because it is not inside a package. Move the code "
            "into another module, and put the cursor there."
        )
    if parts[0] in sys.stdlib_module_names:
        raise RequestError(
            f"A test cannot import {path.name}, because Python's standard library also has a "
            f"module {parts[0]}. Rename it."
        )


def argument_names(test: str) -> set[str]:
    """Return the argument names of a test, without those that its decorators provide."""
    try:
        (node,) = ast.parse(test).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {_UNPARSABLE}
    names: set[str] = set()
    for function in node.body if isinstance(node, ast.ClassDef) else [node]:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = " ".join(ast.unparse(each) for each in function.decorator_list)
            provided = set(re.findall(r"\w+", decorators))
            names |= {argument.arg for argument in function.args.args} - provided
    return names


def undefined_names(code: str) -> set[str]:
    """Return the names that code uses and that neither the code nor Python defines."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {_UNPARSABLE}
    defined = set(dir(builtins))
    used = set[str]()
    for node in nodes:
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    return used - defined


def uses_name(code: str, name: str) -> bool:
    """Whether code uses a name outside its import lines."""
    rest = re.sub(r"^(import|from) .*$", "", code, flags=re.M)
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", rest) is not None


def import_position(text: str) -> int:
    """Return the offset for a new import line: after the last import or the module's docstring."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        imports = list(re.finditer(r"^(?:import|from) [^\n(]+\n", text, re.M))
        return imports[-1].end() if imports else 0
    last_line = 0
    for index, node in enumerate(tree.body):
        is_docstring = (
            index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        )
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            last_line = node.end_lineno or 0
    if last_line == 0:
        return 0
    line_ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", text)]
    return line_ends[last_line - 1] if last_line <= len(line_ends) else len(text)

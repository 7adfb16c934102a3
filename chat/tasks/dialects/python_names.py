"""Python source as tests of it need it: what it imports, binds and names."""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name."""

    module: str
    name: str = ""
    """Empty where the module itself is imported."""
    alias: str = ""

    @property
    def bound(self) -> str:
        """The name that it has in the file."""
        return self.alias or self.name or self.module.split(".")[0]

    @property
    def line(self) -> str:
        """As it is written."""
        end = f" as {self.alias}" if self.alias else ""
        if self.name:
            return f"from {self.module} import {self.name}{end}"
        return f"import {self.module}{end}"


def imports_in(code: str) -> list[Import]:
    """Return the absolute imports at the top level of code that parses; empty otherwise."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [Import(one.name, "", one.asname or "") for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [Import(node.module, one.name, one.asname or "") for one in node.names]
    return found


def module_of(path: Path, root: Path) -> str:
    """Return the dotted name by which a file is imported.

    Packages are followed up to the folder that is none; where there is no package, `src` or the
    workspace is what names begin below.
    """
    top = path.parent
    while (top / "__init__.py").exists() and top != top.parent:
        top = top.parent
    if top == path.parent and path.is_relative_to(root):
        top = root / "src" if path.is_relative_to(root / "src") else root
    parts = list(path.relative_to(top).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def arguments(test: str) -> set[str]:
    """Return what a test wants as arguments, without what its decorators give."""
    try:
        (node,) = ast.parse(test).body
    except (SyntaxError, ValueError):
        return {"what does not parse"}
    functions = node.body if isinstance(node, ast.ClassDef) else [node]
    wanted: set[str] = set()
    for one in functions:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            given = " ".join(ast.unparse(decorator) for decorator in one.decorator_list)
            wanted |= {arg.arg for arg in one.args.args} - set(re.findall(r"\w+", given))
    return wanted


def unknown_names(code: str) -> set[str]:
    """Return the names that code reads and neither binds itself nor has from Python."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError):
        return {"what does not parse"}
    bound = set(dir(builtins))
    read = set[str]()
    for node in nodes:
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {one.asname or one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


def uses(code: str, name: str) -> bool:
    """Whether code uses a name anywhere but where it is imported."""
    rest = re.sub(r"^(import|from) .*$", "", code, flags=re.M)
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", rest) is not None


def after_imports(text: str) -> int:
    """Return where an import line may be added: behind the last, or the module's docstring."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        found = [one.end() for one in re.finditer(r"^(?:import|from) [^\n(]+\n", text, re.M)]
        return found[-1] if found else 0
    last = 0
    for at, node in enumerate(tree.body):
        docstring = at == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, ast.Import | ast.ImportFrom):
            last = node.end_lineno or 0
    ends = [one.end() for one in re.finditer(r"\r\n|\r|\n", text)]
    return 0 if last == 0 else ends[last - 1] if last <= len(ends) else len(text)

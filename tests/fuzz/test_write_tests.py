"""Writing tests in a project of broken files: a proposal or a RequestError, never another error."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from chat.asker import Asker
from chat.tasks.target import Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError
from engine.scripted import ScriptedEngine
from tests.chat.tasks.placements import LANGUAGES
from tests.fuzz.conftest import FUZZING

CONFIGURATIONS = (
    "package.json",
    "tsconfig.json",
    "jest.config.js",
    "vite.config.ts",
    "pyproject.toml",
    "setup.cfg",
    "pytest.ini",
    "go.mod",
    "Cargo.toml",
    "pom.xml",
    "build.gradle",
)
VALUES = (
    *(
        "null",
        "[]",
        "{}",
        "1",
        '"x"',
        "{",
        "\ufeff",
        "//",
        "\r",
        "\0",
        "\ud800",
        "é",
        "=",
        "[pytest]\n",
    ),
    '{"jest": {"testMatch": [null, "**/*.{", "+(("], "roots": [1, "\\u0000"], "testRegex": {}}}',
    '{"scripts": [], "devDependencies": {"jest": null}, "jest": {"rootDir": null}}',
    '{"compilerOptions": {"paths": {"*": ["*"], "": [], "a/*": "b"}}}',
    '{"devDependencies": {"vitest": 1}}',
    "export default { test: { include: ['**/*.{a,b', `x${1}`, /a/], dir: 3 } };",
    "[tool.pytest.ini_options]\ntestpaths = [1, '', '..', '[']\npython_files = ['*', '[', '']\n",
    "[pytest]\ntestpaths = / .. *\npython_files = * ? [\n",
    "[tool:pytest]\npython_files = %(x)s\n",
    "module\n",
    "module (\n",
    "[lib]\nname = 3\n[[bin]]\npath = 1\n",
    "lib = 3\nbin = 4\n",
    "<testSourceDirectory>../../x</testSourceDirectory>",
)
CODES = (
    *(
        "def total(x):\n    return x\n",
        "class total:\n    def f(self): pass\n",
        "import a.b\n",
        "from . import x\n",
    ),
    *(
        "export function total(a) {}\n",
        "module.exports = { total, 'a': 1, ...b };\n",
        "export default total;\n",
    ),
    *(
        "export {",
        "import x = require('y');\n",
        "const { a: { b } } = require(c);\n",
        'import "";\n',
    ),
    *(
        "package geo\n",
        "package geo_test\n",
        "func Total() {}\n",
        'import (\n"x";\n)\n',
        "//go:build x\n",
    ),
    *(
        "#[cfg(test)]\n",
        "mod tests;\n",
        "mod tests {\n",
        "}\n",
        "pub fn total() {}\n",
        "use super::*;\n",
    ),
    *(
        "package a.b;\n",
        "class Total { int total() { return 1; } }\n",
        "@Test\n",
        "\ufeff",
        "\r",
        "\r\n",
    ),
    *("\0", "é", "\ud800", "'''", "/*", '"', "(" * 50),
)
ANSWERS = (
    "():\n    assert total(1) == 1\n",
    '", () => {\n  expect(total(1)).toBe(1);\n});\n',
    "(t *testing.T) {\n\tif Total() != 1 {\n\t\tt.Fatal()\n\t}\n}\n",
    "() {\n    assert_eq!(total(), 1);\n}\n",
    "() {\n        assertEquals(1, total());\n    }\n}\n",
)
NAMES = ("a", "index", "__init__", "my-script", "a.b", "m_linux", "lib", "Box", "é", "tests")
FOLDERS = ("", "src/", "tests/", "src/main/java/a/", "x/__tests__/", "geo/")
TEST_NAMES = ("test_{}", "{}_test", "{}.test", "{}.spec", "{}Test", "tests", "tests/{}", "mod")


def paths(names: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.tuples(st.sampled_from(FOLDERS), names, st.sampled_from(sorted(LANGUAGES)))
    return parts.map("".join)


codes = st.lists(st.sampled_from(CODES), max_size=6).map("".join)
sources = paths(st.sampled_from(NAMES))
test_files = paths(
    st.builds(
        lambda form, name: form.format(name), st.sampled_from(TEST_NAMES), st.sampled_from(NAMES)
    )
)
values = st.lists(st.sampled_from(VALUES), max_size=2).map("".join)
projects = st.dictionaries(st.one_of(sources, test_files), codes, max_size=5)
configurations = st.dictionaries(
    st.builds("".join, st.tuples(st.sampled_from(("", "src/")), st.sampled_from(CONFIGURATIONS))),
    values,
    max_size=4,
)


@FUZZING
@given(sources, codes, projects, configurations, st.sampled_from(ANSWERS), st.booleans())
def test_no_project_and_no_source_file_is_an_unexpected_error(
    name: str,
    code: str,
    project: dict[str, str],
    configuration: dict[str, str],
    answer: str,
    at_name: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, text in {**project, **configuration}.items():
            _write(root / path, text)
        source = root / name
        language = LANGUAGES[source.suffix]
        offset = max(0, code.lower().find("total")) if at_name else len(code) // 2
        target = Target(source.as_uri(), source, language, code, offset, offset)
        engine = ScriptedEngine(lambda _: answer)
        try:
            files = WorkspaceFiles(root, boundary=root)
            proposal = asyncio.run(write_tests(target, Asker(engine), files))
        except RequestError:
            return
        assert proposal.edits


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    except OSError:
        pass  # a file of another example is in the way

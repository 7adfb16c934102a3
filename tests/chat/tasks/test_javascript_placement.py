"""JavaScript and TypeScript tests go into the file of their own module, and import what it exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import RequestError
from tests.chat.tasks.placements import Placement, place, propose_in
from tests.chat.tasks.test_write_tests import find_or_skip, run

TS = "export function total(xs: number[]) {\n  return xs[0];\n}\n"
PLAIN = "function total(xs) {\n  return xs[0];\n}\n"
JS = "export " + PLAIN
JEST = '{"devDependencies": {"jest": "29"}}'
VITEST = '{"devDependencies": {"vitest": "3"}}'
NODE = '{"scripts": {"test": "node --test"}}'
NODE_MODULE = '{"type": "module", "scripts": {"test": "node --test"}}'
OLD = "test('old', () => { expect(1).toBe(1); });\n"
O = "export const o = 1;\n"  # noqa: E741
EXPECT = '", () => {\n  expect(total([1])).toBe(1);\n});\n'
ASSERT = '", () => {\n  assert.equal(total([1]), 1);\n});\n'


PLACEMENTS = {
    "tests/unit": Placement(
        "src/sum.ts",
        "tests/unit/sum.spec.ts",
        {"package.json": JEST, "src/sum.ts": TS, "src/o.ts": O, "tests/unit/o.spec.ts": OLD},
        ('import { total } from "../../src/sum";',),
    ),
    "test mirrors src": Placement(
        "src/math/sum.ts",
        "test/math/sum.test.ts",
        {"package.json": JEST, "src/math/sum.ts": TS, "src/s/o.ts": O, "test/s/o.test.ts": OLD},
    ),
    "__tests__ at the root": Placement(
        "src/sum.ts",
        "__tests__/sum.test.ts",
        {"package.json": JEST, "src/sum.ts": TS, "__tests__/o.test.ts": OLD},
    ),
    "__tests__ next to each source file": Placement(
        "src/a/sum.ts",
        "src/a/__tests__/sum.test.ts",
        {
            "package.json": JEST,
            "src/a/sum.ts": TS,
            "src/b/o.ts": O,
            "src/b/__tests__/o.test.ts": OLD,
        },
    ),
    "__tests__ without a suffix": Placement(
        "src/sum.js",
        "src/__tests__/sum.js",
        {"package.json": JEST, "src/sum.js": JS, "src/o.js": O, "src/__tests__/o.js": OLD},
    ),
    "a name that begins in the same way": Placement(
        "src/app.ts",
        "src/app.spec.ts",
        {
            "package.json": JEST,
            "src/app.ts": TS,
            "src/app.controller.ts": O,
            "src/app.controller.spec.ts": OLD,
        },
    ),
    "a dotted name with its test next to it": Placement(
        "src/users.service.ts",
        "src/users.service.spec.ts",
        {
            "package.json": JEST,
            "src/users.service.ts": TS,
            "src/users.service.spec.ts": OLD,
            "test/app.e2e.spec.ts": OLD,
            "test/users.e2e-spec.ts": OLD,
        },
        ("test('old'",),
    ),
    "two index.ts": Placement(
        "src/a/index.ts",
        "src/a/index.test.ts",
        {
            "package.json": JEST,
            "src/a/index.ts": TS,
            "src/b/index.ts": O,
            "src/b/index.test.ts": OLD,
        },
    ),
    "two index.ts with tests in one folder": Placement(
        "src/a/index.ts",
        "tests/a.test.ts",
        {
            "package.json": JEST,
            "src/a/index.ts": TS,
            "src/b/index.ts": O,
            "tests/index.test.ts": "import { o } from '../src/b';\n" + OLD,
        },
        ('import { total } from "../src/a/index";',),
    ),
    "the test imports by an alias of tsconfig.json": Placement(
        "src/a/sum.ts",
        "tests/sum.test.ts",
        {
            "package.json": JEST,
            "tsconfig.json": '{\n  // paths\n  "compilerOptions": {"paths": {"@/*": ["./src/*"],},},\n}',
            "src/a/sum.ts": TS + O,
            "src/b/sum.ts": O,
            "tests/sum.test.ts": 'import { o } from "@/a/sum";\n' + OLD,
        },
        ("test('old'", 'import { total } from "../src/a/sum";'),
    ),
    "the test imports the other one by an alias": Placement(
        "src/a/sum.ts",
        "tests/a/sum.test.ts",
        {
            "package.json": JEST,
            "tsconfig.json": '{"compilerOptions": {"baseUrl": "src"}}',
            "src/a/sum.ts": TS,
            "src/b/sum.ts": O,
            "tests/sum.test.ts": 'import { o } from "b/sum";\n' + OLD,
            "tests/sum.spec.ts": 'import { o } from "b/sum";\n' + OLD,
        },
    ),
    "a package of a monorepo": Placement(
        "packages/one/src/sum.ts",
        "packages/one/test/sum.test.ts",
        {
            "package.json": VITEST,
            "packages/one/package.json": '{"name": "one"}',
            "packages/one/src/sum.ts": TS,
            "packages/two/package.json": '{"name": "two"}',
            "packages/two/src/sum.ts": O,
            "packages/two/test/sum.test.ts": "import { o } from '../src/sum';\n",
        },
        ('import { expect, test } from "vitest";',),
        ("old",),
    ),
    "testMatch": Placement(
        "src/sum.js",
        "checks/sum.check.js",
        {
            "package.json": '{"jest": {"testMatch": ["<rootDir>/checks/**/*.check.js"]}}',
            "src/sum.js": JS,
        },
    ),
    "testMatch in a program": Placement(
        "src/sum.ts",
        "src/sum.spec.ts",
        {
            "package.json": JEST,
            "jest.config.ts": "export default { testMatch: ['**/?(*.)+(spec).[jt]s?(x)'] };\n",
            "src/sum.ts": TS,
        },
    ),
    "testRegex and rootDir of Nest": Placement(
        "src/sum.ts",
        "src/sum.spec.ts",
        {
            "package.json": '{"jest": {"rootDir": "src", "testRegex": ".*\\\\.spec\\\\.ts$"}}',
            "src/sum.ts": TS,
        },
    ),
    "roots": Placement(
        "src/sum.js",
        "quality/sum.test.js",
        {"package.json": '{"jest": {"roots": ["<rootDir>/quality"]}}', "src/sum.js": JS},
    ),
    "include of Vitest": Placement(
        "src/sum.ts",
        "tests/sum.spec.ts",
        {
            "package.json": VITEST,
            "vite.config.ts": "export default defineConfig({ test: { coverage: { include: ['src/**'] "
            "}, include: ['tests/**/*.spec.{ts,tsx}'] } });\n",
            "src/sum.ts": TS,
        },
    ),
    "another name": Placement(
        "src/side.ts",
        "src/side.test.ts",
        {"package.json": VITEST, "src/side.ts": TS[7:] + "export { total as edge };\n"},
        ('import { edge as total } from "./side";',),
    ),
    "a default export": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {"package.json": VITEST, "src/sum.ts": TS.replace("export", "export default")},
        ('import total from "./sum";',),
    ),
    "exported as the default below": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {"package.json": VITEST, "src/sum.ts": TS[7:] + "export { total as default };\n"},
        ('import total from "./sum";',),
    ),
    "export = in TypeScript": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {"package.json": JEST, "src/sum.ts": TS[7:] + "export = total;\n"},
        ('import total = require("./sum");',),
    ),
    "JSX": Placement(
        "src/Box.tsx",
        "src/Box.test.tsx",
        {"package.json": VITEST, "src/Box.tsx": "export const total = (xs) => <b>{xs}</b>;\n"},
        ('import { total } from "./Box";',),
    ),
    "imports with the compiled suffix": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {"package.json": VITEST, "src/sum.ts": 'import { o } from "./o.js";\n' + TS, "src/o.ts": O},
        ('import { total } from "./sum.js";',),
    ),
    "nodenext": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {
            "package.json": '{"type": "module", "devDependencies": {"vitest": "3"}}',
            "tsconfig.json": '\ufeff{"compilerOptions": {"module": "NodeNext"}}',
            "src/sum.ts": TS,
        },
        ('import { total } from "./sum.js";',),
    ),
    "an .mts file": Placement(
        "src/sum.mts",
        "src/sum.test.mts",
        {"package.json": VITEST, "src/sum.mts": TS},
        ('import { total } from "./sum.mjs";',),
    ),
    "an .mjs file with Jest": Placement(
        "src/sum.mjs",
        "src/sum.test.js",
        {"package.json": JEST, "src/sum.mjs": JS},
        ('import { total } from "./sum.mjs";',),
    ),
    "the functions of Jest are imported": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {
            "package.json": JEST,
            "src/sum.ts": TS,
            "src/o.test.ts": 'import { expect, test } from "@jest/globals";\n' + OLD,
        },
        ('import { expect, test } from "@jest/globals";',),
    ),
    "CR LF in the test": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {
            "package.json": VITEST,
            "src/sum.ts": TS,
            "src/sum.test.ts": 'import { expect } from "vitest";\r\n\r\ndescribe("x", () => {});\r\n',
        },
        (
            'import { expect } from "vitest";\r\nimport { test } from "vitest";\r\nimport { total } from',
        ),
    ),
    "a module whose name looks like a test": Placement(
        "src/ab-test.ts",
        "src/ab-test.test.ts",
        {"package.json": VITEST, "src/ab-test.ts": TS},
        ('import { total } from "./ab-test";',),
    ),
    "package.json is null": Placement(
        "sum.test2.ts",
        "sum.test2.test.ts",
        {"package.json": "null", "sum.test2.ts": TS},
        answer=ASSERT,
    ),
    "package.json holds nulls": Placement(
        "sum.ts",
        "sum.test.ts",
        {
            "package.json": '{"dependencies": null, "devDependencies": [1], "scripts": {"test": null},'
            ' "jest": null, "type": 3}',
            "tsconfig.json": '{"compilerOptions": {"paths": {"a": null, "b/*": [3]}, "baseUrl": 1}}',
            "sum.ts": TS,
            "o.test.ts": 'import "a"; import "b/x";\n',
        },
        answer=ASSERT,
    ),
    "package.json is broken": Placement(
        "sum.ts",
        "sum.test.ts",
        {"package.json": "{", "tsconfig.json": "[[[", "sum.ts": TS},
        answer=ASSERT,
    ),
    "patterns that would take for ever": Placement(
        "src/sum.ts",
        "src/sum.test.ts",
        {
            "package.json": '{"jest": {"testMatch": ["'
            + "*a" * 40
            + '", "{1..9999999}", 1, "["]}}',
            "src/sum.ts": TS,
        },
    ),
}
NODE_PLACEMENTS = {
    "the module is CommonJS": ("sum.js", PLAIN + "module.exports = { total };\n", "{}"),
    "it exports one function": ("sum.js", PLAIN + "module.exports = total;\n", "{}"),
    "it exports a property": ("sum.js", PLAIN + "exports.total = total;\n", "{}"),
    "it exports another name": ("sum.js", PLAIN + "exports.edge = total;\n", "{}"),
    "an ES module": ("sum.js", JS, NODE_MODULE),
    "an object as the default": ("sum.js", PLAIN + "export default { total };\n", NODE_MODULE),
    "a default": ("sum.js", PLAIN + "export default total;\n", NODE_MODULE),
    "an .mjs file": ("sum.mjs", JS, "{}"),
    "a .cjs file in a package of ES modules": (
        "sum.cjs",
        PLAIN + "module.exports = { sum: total };\n",
        NODE_MODULE,
    ),
    "a directive and an interpreter": (
        "sum.js",
        "#!/usr/bin/env node\n'use strict';\n" + JS,
        NODE_MODULE,
    ),
    "CR LF": ("sum.js", (PLAIN + "module.exports = { total };\n").replace("\n", "\r\n"), NODE),
    "a byte order mark": ("sum.js", "\ufeff" + JS, NODE_MODULE),
    "a class": (
        "sum.js",
        "exports.Sum = class Sum {\n  total(xs) {\n    return xs[0];\n  }\n};\n",
        NODE,
    ),
}


@pytest.mark.parametrize("name", PLACEMENTS)
async def test_tests_are_in_the_file_of_their_module(name: str, tmp_path: Path) -> None:
    await place(PLACEMENTS[name], tmp_path, EXPECT)


@pytest.mark.parametrize("folder", ["", "test/"])
@pytest.mark.parametrize("name", NODE_PLACEMENTS)
async def test_node_runs_the_tests_of_each_kind_of_module(
    name: str, folder: str, tmp_path: Path
) -> None:
    node = find_or_skip("node")
    source, code, package = NODE_PLACEMENTS[name]
    suffix = Path(source).suffix
    test_file = f"{folder}sum.test{suffix}"
    files: dict[str, str | bytes] = {source: code, "package.json": package}
    if folder:
        files[f"test/names.test{suffix}"] = "// node:test\n"
    answer = ASSERT.replace("total(", "new Sum().total(") if name == "a class" else ASSERT
    await place(Placement(source, test_file, files), tmp_path, answer)
    output = run([node, "--test", "--test-reporter=tap", test_file], tmp_path)
    assert "# pass 1" in output


@pytest.mark.parametrize(
    ("name", "code", "match"),
    [
        ("side.ts", TS[7:], "side.ts does not export total"),
        ("side.js", PLAIN, "side.js does not export total"),
        ("side.js", PLAIN + "module.exports = { other };\n", "does not export total"),
        ("side.ts", TS[7:] + "export { total } from './other';\n", "does not export total"),
        ("side.ts", "export class A {\n  private total() {\n  }\n}\n", "total is private"),
        ("side.ts", "export class A {\n  protected static total() {\n  }\n}\n", "total is private"),
        ("side.js", "export class A {\n  #total() {\n  }\n}\n", "#total is private"),
        ("side.d.ts", "export class total {}\n", "only declarations"),
        ("side.test.ts", TS, "contains tests"),
        ("__tests__/side.ts", OLD + TS, "contains tests"),
        ("test-side.ts", OLD + TS, "contains tests"),
    ],
)
async def test_what_a_test_cannot_import_is_an_error_before_the_model_is_asked(
    name: str, code: str, match: str, tmp_path: Path
) -> None:
    files: dict[str, str | bytes] = {"package.json": VITEST, name: code}
    with pytest.raises(RequestError, match=match):
        await propose_in(Placement(name, "", files), tmp_path, EXPECT)

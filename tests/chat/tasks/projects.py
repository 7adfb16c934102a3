"""Small projects, one for each test framework and common layout."""

from dataclasses import dataclass
from pathlib import Path

PYTHON = '''"""Prices."""

import math


def total(prices, rate=0.0):
    """Return the sum with tax, rounded up."""
    return math.ceil(sum(prices) * (1 + rate))


class Cart:
    def __init__(self):
        self.items = []

    def add(self, price):
        if price < 0:
            raise ValueError("negative")
        self.items.append(price)
'''

JAVASCRIPT = """export function total(prices, rate = 0) {
  return Math.ceil(prices.reduce((a, b) => a + b, 0) * (1 + rate));
}
"""


@dataclass(frozen=True)
class Project:
    """A project, an answer of the model, and where its tests belong."""

    files: dict[str, str]
    """The texts of the files, by path."""
    source: str
    """The path of the source file."""
    language: str
    """The LSP language id of the source file."""
    cursor: str
    """A text in the source file at which the cursor is."""
    answer: str
    """The model's answer after the opening that the prompt contains."""
    test_file: str
    """The path of the file in which the tests belong."""
    framework: str
    """The framework that is detected."""


PROJECTS = {
    "pytest, no tests yet": Project(
        files={
            "pyproject.toml": "[project]\nname = 'shop'\n[tool.pytest.ini_options]\n",
            "shop/__init__.py": "",
            "shop/prices.py": PYTHON,
        },
        source="shop/prices.py",
        language="python",
        cursor="return math",
        answer="():\n    assert total([1, 2]) == 3\n\n\n@pytest.mark.parametrize('rate', [0.0, 0.5])"
        "\ndef test_total_with_rate(rate):\n    assert total([2], rate) == math.ceil(2 * (1 + rate))"
        "\n\n\ndef test_other():\n    assert sorted([2, 1]) == [1, 2]\n\n\ndef test_half():\n"
        "    assert total([1",
        test_file="tests/test_prices.py",
        framework="pytest",
    ),
    "pytest, mirrored folders": Project(
        files={
            "src/shop/__init__.py": "",
            "src/shop/core/__init__.py": "",
            "src/shop/core/prices.py": PYTHON,
            "src/shop/core/names.py": "x = 1\n",
            "tests/core/test_names.py": "from shop.core import names\n\n\ndef test_x():\n"
            "    assert names.x == 1\n",
            "pytest.ini": "[pytest]\npythonpath = src\n",
        },
        source="src/shop/core/prices.py",
        language="python",
        cursor="self.items.append",
        answer="():\n    cart = Cart()\n    cart.add(1)\n    assert cart.items == [1]\n",
        test_file="tests/core/test_prices.py",
        framework="pytest",
    ),
    "unittest": Project(
        files={
            "shop/__init__.py": "",
            "shop/prices.py": PYTHON,
            "tests/__init__.py": "",
            "tests/test_prices.py": "import unittest\n\nfrom shop.prices import Cart\n\n\n"
            "class TestCart(unittest.TestCase):\n    def test_add(self):\n        cart = Cart()\n"
            "        cart.add(2)\n        self.assertEqual(cart.items, [2])\n\n\n"
            'if __name__ == "__main__":\n    unittest.main()\n',
        },
        source="shop/prices.py",
        language="python",
        cursor="return math",
        answer="(self):\n        self.assertEqual(total([1, 2]), 3)\n\n    def test_rate(self):\n"
        "        self.assertEqual(total([2], 0.5), 3)\n",
        test_file="tests/test_prices.py",
        framework="unittest",
    ),
    "node, ES modules": Project(
        files={
            "package.json": '{"type": "module", "scripts": {"test": "node --test"}}',
            "src/prices.js": JAVASCRIPT,
        },
        source="src/prices.js",
        language="javascript",
        cursor="return Math",
        answer=' adds up", () => {\n  assert.equal(total([1, 2]), 3);\n});\n\n'
        'test("it rounds", () => {\n  assert.equal(total([1], 0.5), 2);\n});\n',
        test_file="src/prices.test.js",
        framework="node",
    ),
    "node, CommonJS": Project(
        files={
            "package.json": "{}",
            "test/names.test.js": "const test = require('node:test');\n",
            "prices.js": JAVASCRIPT.replace("export ", "") + "module.exports = { total };\n",
        },
        source="prices.js",
        language="javascript",
        cursor="return Math",
        answer=' adds up", () => {\n  assert.equal(total([1, 2]), 3);\n});\n',
        test_file="test/prices.test.js",
        framework="node",
    ),
    "vitest": Project(
        files={
            "package.json": '{"devDependencies": {"vitest": "^3"}}',
            "src/prices.ts": JAVASCRIPT.replace("prices,", "prices: number[],"),
            "src/names.spec.ts": 'import { expect, it } from "vitest";\n\n'
            'it("is", () => {\n  expect(1).toBe(1);\n});\n',
        },
        source="src/prices.ts",
        language="typescript",
        cursor="return Math",
        answer=' adds up", () => {\n  expect(total([1, 2])).toBe(3);\n});\n',
        test_file="src/prices.spec.ts",
        framework="vitest",
    ),
    "jest": Project(
        files={
            "package.json": '{"scripts": {"test": "jest"}}',
            "prices.js": JAVASCRIPT,
            "__tests__/names.test.js": "test('x', () => { expect(1).toBe(1); });\n",
        },
        source="prices.js",
        language="javascript",
        cursor="return Math",
        answer=' adds up", () => {\n  expect(total([1, 2])).toBe(3);\n});\n',
        test_file="__tests__/prices.test.js",
        framework="jest",
    ),
    "go": Project(
        files={
            "go.mod": "module shop\n\ngo 1.19\n",
            "prices.go": 'package shop\n\nimport "fmt"\n\nfunc Total(prices []int) int {\n'
            "\tsum := 0\n\tfor _, p := range prices {\n\t\tsum += p\n\t}\n\treturn sum\n}\n\n"
            "func Show(p int) string { return fmt.Sprint(p) }\n",
            "prices_test.go": 'package shop\n\nimport (\n\t"testing"\n)\n\n'
            "func TestTotal(t *testing.T) {\n\tif Total(nil) != 0 {\n\t\tt.Fatal()\n\t}\n}\n",
        },
        source="prices.go",
        language="go",
        cursor="sum += p",
        answer="(t *testing.T) {\n\tif got := Total([]int{1, 2}); !reflect.DeepEqual(got, 3) {\n"
        '\t\tt.Errorf("got %d", got)\n\t}\n}\n',
        test_file="prices_test.go",
        framework="go",
    ),
    "cargo": Project(
        files={
            "Cargo.toml": '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2021"\n',
            "src/lib.rs": "pub fn total(prices: &[u32]) -> u32 {\n    prices.iter().sum()\n}\n\n"
            "pub fn double(x: u32) -> u32 {\n    x * 2\n}\n\n#[cfg(test)]\nmod tests {\n"
            "    use super::*;\n\n    #[test]\n    fn test_double() {\n"
            "        assert_eq!(double(2), 4);\n    }\n}\n",
        },
        source="src/lib.rs",
        language="rust",
        cursor="iter()",
        answer="() {\n    assert_eq!(total(&[1, 2]), 3);\n}\n\n#[test]\n#[should_panic]\n"
        "fn test_total_overflow() {\n    total(&[u32::MAX, 1]);\n}\n",
        test_file="src/lib.rs",
        framework="cargo",
    ),
    "cargo, no tests yet": Project(
        files={
            "Cargo.toml": '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2021"\n',
            "src/lib.rs": "pub fn total(prices: &[u32]) -> u32 {\n    prices.iter().sum()\n}\n",
        },
        source="src/lib.rs",
        language="rust",
        cursor="iter()",
        answer="() {\n    assert_eq!(total(&[1, 2]), 3);\n}\n",
        test_file="src/lib.rs",
        framework="cargo",
    ),
    "junit": Project(
        files={
            "pom.xml": "<project><artifactId>junit-jupiter</artifactId></project>",
            "src/main/java/shop/Prices.java": "package shop;\n\npublic class Prices {\n"
            "    public static int total(int[] prices) {\n        int sum = 0;\n"
            "        for (int p : prices) sum += p;\n        return sum;\n    }\n}\n",
        },
        source="src/main/java/shop/Prices.java",
        language="java",
        cursor="int sum = 0",
        answer="AddsUp() {\n        List<Integer> some = List.of(1);\n"
        "        assertEquals(3, Prices.total(new int[] {1, 2}));\n    }\n\n    @Test\n"
        "    void totalOfNothing() {\n        assertEquals(0, Prices.total(new int[0]));\n    }\n}\n",
        test_file="src/test/java/shop/PricesTest.java",
        framework="junit5",
    ),
}


def lay_out(project: Project, root: Path) -> Path:
    """Write the project's files and return its source file."""
    for name, text in project.files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return root / project.source

"""Python tests go into the test file of their own module, and can import it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chat.asker import Asker
from chat.tasks.target import Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError
from engine.scripted import ScriptedEngine
from tests.chat.tasks.placements import Placement, place, propose_in, target_of, write
from tests.chat.tasks.test_write_tests import PYTEST, run

CODE = "def total(xs):\n    return sum(xs)\n"
OTHER = "def other():\n    return 1\n"
ANSWER = "():\n    assert total([1]) == 1\n"
UNITTEST_ANSWER = "(self):\n        self.assertEqual(total([1]), 1)\n"
TOML = "[tool.pytest.ini_options]\n"


def old_test(module: str, name: str = "other") -> str:
    return f"from {module} import {name}\n\n\ndef test_old():\n    assert {name}() == 1\n"


PLACEMENTS = {
    "an app whose sibling has a test of the same name": Placement(
        "users/models.py",
        "users/tests/test_models.py",
        {
            "shop/__init__.py": "",
            "users/__init__.py": "",
            "shop/models.py": OTHER,
            "users/models.py": CODE,
            "shop/tests/test_models.py": old_test("shop.models"),
        },
        ("from users.models import total",),
    ),
    "the other app's module is gone": Placement(
        "users/models.py",
        "users/tests/test_models.py",
        {
            "users/__init__.py": "",
            "users/models.py": CODE,
            "shop/tests/test_models.py": "def test_old():\n    assert True\n",
        },
    ),
    "one folder of tests, two modules of the same name": Placement(
        "users/models.py",
        "tests/test_users_models.py",
        {
            "shop/__init__.py": "",
            "users/__init__.py": "",
            "shop/models.py": OTHER,
            "users/models.py": CODE,
            "tests/test_models.py": old_test("shop.models"),
        },
        ("from users.models import total",),
    ),
    "the test imports this one of two modules": Placement(
        "users/models.py",
        "tests/test_models.py",
        {
            "shop/__init__.py": "",
            "users/__init__.py": "",
            "shop/models.py": OTHER,
            "users/models.py": CODE + OTHER,
            "tests/test_models.py": old_test("users.models"),
        },
        ("def test_old():", "import other\nfrom users.models import total"),
    ),
    "the test imports the module from its package": Placement(
        "pkg/a/utils.py",
        "tests/test_utils.py",
        {
            "pkg/__init__.py": "",
            "pkg/a/__init__.py": "",
            "pkg/b/__init__.py": "",
            "pkg/a/utils.py": CODE,
            "pkg/b/utils.py": OTHER,
            "tests/test_utils.py": "from pkg.a import utils\n\n\ndef test_old():\n    assert utils\n",
        },
        ("from pkg.a.utils import total",),
    ),
    "a relative import": Placement(
        "users/models.py",
        "users/tests/test_models.py",
        {
            "users/__init__.py": "",
            "users/tests/__init__.py": "",
            "users/models.py": CODE + OTHER,
            "users/tests/test_models.py": "from ..models import other\n\n\ndef test_old():\n"
            "    assert other() == 1\n",
            "shop/__init__.py": "",
            "shop/models.py": OTHER,
        },
        ("def test_old():", "def test_total("),
    ),
    "mirrored folders": Placement(
        "pkg/a/utils.py",
        "tests/a/test_utils.py",
        {
            "pkg/__init__.py": "",
            "pkg/a/__init__.py": "",
            "pkg/b/__init__.py": "",
            "pkg/a/utils.py": CODE,
            "pkg/b/utils.py": OTHER,
            "tests/b/test_names.py": old_test("pkg.b.utils"),
            "tests/b/test_utils.py": old_test("pkg.b.utils"),
        },
    ),
    "a package of a monorepo without tests": Placement(
        "packages/one/src/one/calc.py",
        "packages/one/tests/test_calc.py",
        {
            "packages/one/src/one/__init__.py": "",
            "packages/one/src/one/calc.py": CODE,
            "packages/one/pyproject.toml": TOML + 'pythonpath = ["src"]\n',
            "packages/two/pyproject.toml": TOML,
            "packages/two/src/two/__init__.py": "",
            "packages/two/src/two/z.py": OTHER,
            "packages/two/tests/test_z.py": "from two.z import other\n\n\ndef test_z():\n    other()\n",
            "packages/two/tests/test_calc.py": "def test_old():\n    assert True\n",
        },
        ("from one.calc import total",),
    ),
    "tests of the root cover a nested project": Placement(
        "libs/one/one/calc.py",
        "tests/one/test_calc.py",
        {
            "pyproject.toml": TOML,
            "libs/one/pyproject.toml": "[project]\nname = 'one'\n",
            "libs/one/one/__init__.py": "",
            "libs/one/one/calc.py": CODE + OTHER,
            "tests/one/test_calc.py": old_test("one.calc"),
        },
        ("def test_old():", "from one.calc import total"),
    ),
    "testpaths": Placement(
        "app/calc.py",
        "checks/test_calc.py",
        {
            "pyproject.toml": TOML + 'testpaths = ["checks"]\n',
            "app/__init__.py": "",
            "app/calc.py": CODE,
            "docs/test_docs.py": "def test_docs():\n    assert True\n",
        },
    ),
    "python_files": Placement(
        "calc.py",
        "tests/check_calc.py",
        {"pytest.ini": "[pytest]\npython_files = check_*.py\n", "calc.py": CODE},
    ),
    "python_files in setup.cfg, with an existing test": Placement(
        "calc.py",
        "quality/check_calc.py",
        {
            "setup.cfg": "[tool:pytest]\npython_files = check_*.py\n",
            "calc.py": CODE + OTHER,
            "quality/check_calc.py": old_test("calc"),
        },
        ("def test_old",),
    ),
    "a suffix, next to the source file": Placement(
        "app/core/calc.py",
        "app/core/calc_test.py",
        {
            "app/__init__.py": "",
            "app/core/__init__.py": "",
            "app/core/calc.py": CODE,
            "app/names.py": OTHER,
            "app/names_test.py": old_test("app.names"),
        },
    ),
    "tests.py of a Django app": Placement(
        "users/models.py",
        "users/tests.py",
        {
            "manage.py": "import django\n",
            "users/__init__.py": "",
            "users/models.py": CODE,
            "users/tests.py": "from django.test import TestCase\n\n# Create your tests here.\n",
        },
        ("class TestTotal(unittest.TestCase):", "from users.models import total"),
        answer=UNITTEST_ANSWER,
    ),
    "a new Django app": Placement(
        "users/models.py",
        "users/tests.py",
        {
            "manage.py": "import django\n",
            "users/__init__.py": "",
            "users/models.py": CODE,
            "shop/__init__.py": "",
            "shop/models.py": OTHER,
            "shop/tests.py": "from django.test import TestCase\n\nfrom shop.models import other\n",
        },
        ("class TestTotal(unittest.TestCase):",),
        answer=UNITTEST_ANSWER,
    ),
    "the package itself": Placement(
        "shop/__init__.py",
        "tests/test_shop.py",
        {"shop/__init__.py": CODE, "tests/test_prices.py": "def test_x():\n    pass\n"},
        ("from shop import total",),
    ),
    "the program of a package": Placement(
        "shop/__main__.py",
        "tests/test_main.py",
        {"shop/__init__.py": "", "shop/__main__.py": CODE},
        ("from shop.__main__ import total",),
    ),
    "tests that import from src": Placement(
        "src/shop/calc.py",
        "tests/test_calc.py",
        {
            "src/__init__.py": "",
            "src/shop/__init__.py": "",
            "src/shop/calc.py": CODE,
            "src/shop/names.py": OTHER,
            "tests/test_names.py": old_test("src.shop.names"),
        },
        ("from src.shop.calc import total",),
    ),
    "a namespace package that tests import from a folder": Placement(
        "lambda-one/handler.py",
        "lambda-one/tests/test_handler.py",
        {
            "lambda-one/conftest.py": "",
            "lambda-one/handler.py": CODE,
            "lambda-one/names.py": OTHER,
            "lambda-one/tests/test_names.py": old_test("names"),
        },
        ("from handler import total",),
    ),
    "a helper of the tests": Placement(
        "tests/helpers.py",
        "tests/test_helpers.py",
        {"tests/helpers.py": CODE, "tests/test_names.py": "def test_x():\n    assert True\n"},
        ("from helpers import total",),
    ),
    "unit tests before integration tests": Placement(
        "shop/calc.py",
        "tests/unit/test_calc.py",
        {
            "shop/__init__.py": "",
            "shop/calc.py": CODE + OTHER,
            "tests/integration/test_calc.py": old_test("shop.calc"),
            "tests/unit/test_calc.py": old_test("shop.calc"),
        },
        ("def test_old",),
    ),
    "a byte order mark": Placement(
        "calc.py",
        "tests/test_calc.py",
        {
            "calc.py": b"\xef\xbb\xbf" + CODE.encode(),
            "tests/test_names.py": b"\xef\xbb\xbfdef test_x():\n    assert True\n",
        },
    ),
    "carriage returns only": Placement(
        "calc.py",
        "tests/test_calc.py",
        {
            "calc.py": (CODE + OTHER).replace("\n", "\r"),
            "tests/test_calc.py": old_test("calc").replace("\n", "\r"),
        },
        ("import other\rfrom calc import total\r", "\r\r\rdef test_total():\r"),
        ("\n",),
    ),
    "configuration of the wrong types": Placement(
        "calc.py",
        "tests/test_calc.py",
        {
            "calc.py": CODE,
            "pyproject.toml": "tool = 3\n",
            "setup.cfg": "[tool:pytest\n",
            "tox.ini": b"\xff\xfe",
            "pytest.toml": b"\xef\xbb\xbf[pytest]\ntestpaths = [['tests']]\n",
            "pytest.ini": "[pytest]\npython_files =\ntestpaths =\n",
        },
    ),
    "invalid configuration": Placement(
        "calc.py",
        "tests/test_calc.py",
        {"calc.py": CODE, "pyproject.toml": "[tool.pytest\n", "pytest.ini": "python_files\n"},
    ),
    "configuration whose values are no texts": Placement(
        "calc.py",
        "tests/test_calc.py",
        {"calc.py": CODE, "pyproject.toml": TOML + "testpaths = 1\npython_files = [1, {}]\n"},
    ),
    "another test in Latin-1": Placement(
        "calc.py",
        "tests/test_calc.py",
        {
            "calc.py": CODE,
            "tests/test_names.py": "# coding: latin-1\n# gr\xfc\xdfe\n".encode("latin-1"),
        },
    ),
    "a module whose name looks like a test": Placement(
        "ab_test.py", "tests/test_ab_test.py", {"ab_test.py": CODE, "pytest.ini": "[pytest]\n"}
    ),
    "the test imports a module of this name that is not in the workspace": Placement(
        "users/models.py",
        "tests/test_users_models.py",
        {
            "users/__init__.py": "",
            "users/models.py": CODE,
            "tests/test_models.py": old_test("vendor.models"),
        },
    ),
    "a test of one of two modules, nobody knows which": Placement(
        "pkg/a/utils.py",
        "tests/test_a_utils.py",
        {
            "pkg/a/utils.py": CODE,
            "pkg/b/utils.py": OTHER,
            "tests/test_utils.py": "def test_old():\n    assert True\n",
        },
    ),
    "a test of one of two modules, from the other side": Placement(
        "pkg/b/utils.py",
        "tests/test_b_utils.py",
        {
            "pkg/b/utils.py": CODE,
            "pkg/a/utils.py": OTHER,
            "tests/test_utils.py": "def test_old():\n    assert True\n",
        },
    ),
    "a module next to the folder of tests": Placement(
        "shop/prices.py",
        "tests/test_prices.py",
        {
            "main.py": OTHER,
            "shop/__init__.py": "",
            "shop/prices.py": CODE,
            "tests/test_main.py": old_test("main"),
        },
    ),
    "an empty test file": Placement(
        "calc.py", "tests/test_calc.py", {"calc.py": CODE, "tests/test_calc.py": "\n"}
    ),
}
RUNNABLE = sorted(
    set(PLACEMENTS)
    - {
        "tests.py of a Django app",  # need Django
        "a new Django app",
        "tests of the root cover a nested project",  # needs an installed package
        "a package of a monorepo without tests",  # two of its tests have the same name
        "an app whose sibling has a test of the same name",  # see the note
        "invalid configuration",  # pytest stops at it
        "configuration of the wrong types",
        "configuration whose values are no texts",
        "another test in Latin-1",
    }
)


@pytest.mark.parametrize("name", PLACEMENTS)
async def test_tests_are_in_the_file_of_their_module(name: str, tmp_path: Path) -> None:
    await place(PLACEMENTS[name], tmp_path, ANSWER)


@pytest.mark.parametrize("name", RUNNABLE)
async def test_pytest_runs_the_tests(name: str, tmp_path: Path) -> None:
    placement = PLACEMENTS[name]
    await place(placement, tmp_path, ANSWER)
    output = run([*PYTEST, placement.test_file], tmp_path)
    assert " passed" in output


async def test_pytest_runs_the_tests_of_a_package_of_a_monorepo(tmp_path: Path) -> None:
    await place(PLACEMENTS["a package of a monorepo without tests"], tmp_path, ANSWER)
    assert "1 passed" in run(PYTEST, tmp_path / "packages" / "one")


async def test_a_second_file_of_the_same_name_gets_a_note(tmp_path: Path) -> None:
    placement = PLACEMENTS["an app whose sibling has a test of the same name"]
    proposal, _ = await propose_in(placement, tmp_path, ANSWER)
    assert "Add an empty __init__.py next to test_models.py." in proposal.note
    (tmp_path / "users/tests").mkdir()
    (tmp_path / "users/tests/__init__.py").touch()
    proposal, _ = await propose_in(placement, tmp_path, ANSWER)
    assert proposal.note == ""


async def test_pytest_with_importlib_needs_no_note(tmp_path: Path) -> None:
    placement = PLACEMENTS["an app whose sibling has a test of the same name"]
    write({"pytest.ini": "[pytest]\naddopts = --import-mode=importlib\n"}, tmp_path)
    proposal, _ = await propose_in(placement, tmp_path, ANSWER)
    assert proposal.note == ""


NOT_IMPORTABLE = {
    "my-script.py": "my-script.py is not a valid name",
    "01_setup.py": "01_setup.py is not a valid name",
    "class.py": "class.py is not a valid name",
    "a.b.py": "a.b.py is not a valid name",
    "my tool.py": "my tool.py is not a valid name",
    "my-app/tool.py": "my-app is not a valid name",
    "json.py": "standard library also has a module json",
    "__main__.py": "is not inside a package",
    "__init__.py": "is not inside a package|is not a valid name|cannot import __init__.py",
    "tool": "does not end in .py",
    "tool.pyi": "does not end in .py",
    "conftest.py": "belongs to the tests",
    "tests/conftest.py": "belongs to the tests",
    "tests/test_tool.py": "belongs to the tests",
}


@pytest.mark.parametrize("name", NOT_IMPORTABLE)
async def test_a_file_that_cannot_be_imported_is_an_error_before_the_model_is_asked(
    name: str, tmp_path: Path
) -> None:
    root = tmp_path / "my-project"
    write({name: CODE}, root)
    engine = ScriptedEngine(lambda _: ANSWER)
    source = root / name
    target = Target(source.as_uri(), source, "python", CODE, 5, 5)
    with pytest.raises(RequestError, match=NOT_IMPORTABLE[name]):
        await write_tests(target, Asker(engine), WorkspaceFiles(root))
    assert engine.requests == []


async def test_the_own_test_in_latin_1_is_an_error(tmp_path: Path) -> None:
    placement = Placement(
        "calc.py", "", {"calc.py": CODE, "tests/test_calc.py": b"# coding: latin-1\n# \xfc\n"}
    )
    with pytest.raises(RequestError, match="not a text file of this workspace"):
        await propose_in(placement, tmp_path, ANSWER)


async def test_a_file_in_no_folder_of_the_workspace_has_tests_next_to_it(tmp_path: Path) -> None:
    placement = Placement("calc.py", "", {"calc.py": CODE})
    target = target_of(placement, tmp_path)
    engine = ScriptedEngine(lambda _: ANSWER)
    proposal = await write_tests(target, Asker(engine), WorkspaceFiles(tmp_path))
    assert [edit.path for edit in proposal.edits if hasattr(edit, "path")] == [
        tmp_path / "tests/test_calc.py"
    ]


async def test_a_test_of_the_existing_file_is_named_after_no_existing_one(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "calc.py": CODE,
        "tests/test_calc.py": "from calc import total\n\n\ndef test_total():\n    assert total\n",
    }
    text = await place(Placement("calc.py", "tests/test_calc.py", files), tmp_path, ANSWER)
    assert "def test_total_2():" in text
    assert "2 passed" in run([sys.executable, "-m", "pytest", "-q"], tmp_path)

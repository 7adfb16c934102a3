"""Go: real if it is installed, and outputs as `go doc test2json` and its releases show them."""

import shutil
from pathlib import Path

import pytest

from chat.tasks.checking.go_runner import read_events, wrong_lines
from chat.tasks.checking.runner import CannotRunError
from tests.chat.tasks.checking.running import opened, require_program

CLAMP = """package shop

func Clamp(x, low, high int) int {
	if x < low {
		return low
	}
	if x > high {
		return high
	}
	return x
}
"""
RIGHT = (
    "TestClamp",
    'func TestClamp(t *testing.T) {\n\tif got := Clamp(5, 1, 3); got != 3 {\n\t\tt.Errorf("got %d", got)\n\t}\n}',
)
WRONG = (
    "TestWrong",
    "func TestWrong(t *testing.T) {\n\tif got := Clamp(0, 1, 3); got != 0 {\n\t\tt.Fatal(got)\n\t}\n}",
)
BROKEN = (
    "TestBroken",
    "func TestBroken(t *testing.T) {\n\tif Clamp(0) != 0 {\n\t\tt.Fatal()\n\t}\n}",
)
FILES = {"clamp.go": CLAMP, "go.mod": "module shop\n\ngo 1.19\n"}


def test_tests_pass_and_detect_mutations(tmp_path: Path) -> None:
    require_program("go")
    with opened(tmp_path, FILES, "return low", "go", RIGHT, WRONG, BROKEN) as project:
        plain, *mutants = project.runner.run(
            project.job, project.generated, [None, *project.mutations]
        )
    assert plain.passed == {"TestClamp"}
    assert plain.failed == {"TestWrong", "TestBroken"}
    assert any("TestClamp" in mutant.failed for mutant in mutants)
    assert any("TestClamp" in mutant.passed for mutant in mutants)


def test_without_go_a_sentence_says_so(tmp_path: Path) -> None:
    if shutil.which("go") is not None:
        pytest.skip("optional: Go is installed")
    require_program("sh")
    opening = opened(tmp_path, FILES, "return low", "go", RIGHT)
    with pytest.raises(CannotRunError, match=r"^Go is not installed"):
        opening.__enter__()


def test_events() -> None:
    output = """{"Time":"2025-01-02T03:04:05Z","Action":"start","Package":"shop"}
{"Action":"run","Package":"shop","Test":"Test_m_0"}
{"Action":"output","Package":"shop","Test":"Test_m_0","Output":"=== RUN   Test_m_0\\n"}
{"Action":"run","Package":"shop","Test":"Test_m_0/inner"}
{"Action":"fail","Package":"shop","Test":"Test_m_0/inner","Elapsed":0}
{"Action":"pass","Package":"shop","Test":"Test_m_0","Elapsed":0}
{"Action":"run","Package":"shop","Test":"Test_m_1"}
{"Action":"fail","Package":"shop","Test":"Test_m_1","Elapsed":0}
{"Action":"run","Package":"shop","Test":"Test_m_2"}
{"Action":"skip","Package":"shop","Test":"Test_m_2","Elapsed":0}
{"Action":"run","Package":"shop","Test":"Test_m_30"}
{"Action":"pass","Package":"shop","Test":"Test_other","Elapsed":0}
{"Action":"out"""
    assert read_events(output, "m") == ({0: True, 1: False}, [0, 1, 2, 30])


def test_lines_that_do_not_compile() -> None:
    plain = "# shop [shop.test]\n./clamp_test.go:7:14: not enough arguments\n./clamp.go:3:2: x\nFAIL\tshop [build failed]\n"
    vetted = "# shop\nvet: ./clamp_test.go:9:2: undefined: x\n"
    event = '{"ImportPath":"shop [shop.test]","Action":"build-output","Output":"./clamp_test.go:8:14: undefined: y\\n"}\n'
    assert wrong_lines(plain, "clamp_test.go") == [7]
    assert wrong_lines(vetted, "clamp_test.go") == [9]
    assert wrong_lines(event + '{"Action":"fail"}\n', "clamp_test.go") == [8]

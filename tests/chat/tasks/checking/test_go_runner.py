"""Go: real if it is installed, and outputs as `go doc test2json` and its releases show them."""

import os
from pathlib import Path

import pytest

from chat.tasks.checking.go.runner import read_events, wrong_lines
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


def test_a_test_that_go_vet_refuses_has_failed_and_others_are_run(tmp_path: Path) -> None:
    require_program("go")
    refused = ("TestVet", 'func TestVet(t *testing.T) {\n\tt.Logf("%s", Clamp(1, 2, 3))\n}')
    with opened(tmp_path, FILES, "return low", "go", RIGHT, refused) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"TestClamp"}
    assert run.failed == {"TestVet"}


def test_a_panic_does_not_stop_other_tests(tmp_path: Path) -> None:
    require_program("go")
    panics = ("TestPanic", "func TestPanic(t *testing.T) {\n\tpanic(Clamp(1, 2, 3))\n}")
    inner = (
        "TestInner",
        'func TestInner(t *testing.T) {\n\tt.Run("x", func(t *testing.T) { panic("inside") })\n}',
    )
    with opened(tmp_path, FILES, "return low", "go", panics, inner, RIGHT) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"TestClamp"}
    assert run.failed == {"TestPanic", "TestInner"}


def test_packages_that_were_compiled_before_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_program("go")
    cache = tmp_path / "cache"
    (cache / "00").mkdir(parents=True)
    (cache / "00" / "compiled-d").write_text("12345")
    os.utime(cache / "00" / "compiled-d", (0, 0))  # Go deletes from its cache what is so old
    (cache / "README").write_text("not in a folder")
    monkeypatch.setenv("GOCACHE", str(cache))
    test = """func TestCache(t *testing.T) {
	folder := os.Getenv("GOCACHE") + "/00/"
	text, err := os.ReadFile(folder + "compiled-d")
	if err != nil || Clamp(len(text), 0, 9) != 5 {
		t.Fatal(text, err)
	}
	if err := os.WriteFile(folder+"new", text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder+"compiled-d", nil, 0o644); err == nil {
		t.Fatal("it can be written")
	}
}"""
    root = tmp_path / "project"
    with opened(root, FILES, "return low", "go", ("TestCache", test)) as project:
        harmless = next(each for each in project.mutations if each.line == 4)
        runs = project.runner.run(project.job, project.generated, [None, harmless])
    assert [run.passed for run in runs] == [{"TestCache"}, {"TestCache"}], runs
    assert [path.name for path in (cache / "00").iterdir()] == ["compiled-d"]


def test_without_go_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_program("sh")
    folders = os.environ["PATH"].split(os.pathsep)
    without_go = [each for each in folders if not Path(each, "go").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(without_go))
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

"""Wrong expected values of Go tests get those that the real Go has computed."""

from pathlib import Path

import pytest

from tests.chat.tasks.checking.running import Opened, opened, require_program

SOURCE = """package shop

import "errors"

type Point struct{ X, y int }

type Counter struct{ n int }

func (c *Counter) Add() int { c.n++; return c.n }

func Half(x float64) float64 { return x / 3 }

func Names(n int) ([]string, error) {
	if n < 0 {
		return nil, errors.New("negative")
	}
	return []string{"a", "b"}[:n], nil
}

func Counts() map[string][]int { return map[string][]int{"b": {2}, "a": nil} }

func Move(x int) Point { return Point{x, 1} }

func First(s string) rune { return rune(s[0]) }

func Double(x int) int {
	return 2 * x
}

func Twice(x int64) int64 { return 2 * x }
"""
FILES = {"shop.go": SOURCE, "go.mod": "module shop\n\ngo 1.19\n"}
MARK = "// current behaviour"


def go_test(body: str, name: str = "TestIt") -> tuple[str, str]:
    lines = "\n".join(f"\t{line}" if line else "" for line in body.strip("\n").split("\n"))
    return name, f"func {name}(t *testing.T) {{\n{lines}\n}}"


def repaired(project: Opened) -> list[str]:
    """Return the bodies of the repaired tests, which pass."""
    tests = project.runner.repair(project.job, project.generated)
    (run,) = project.runner.run(project.job, tests, [None])
    assert run.passed == {test.name for test in tests.tests}, run.problem
    bodies = []
    for test in tests.tests:
        lines = test.text.split("\n")[1:-1]
        bodies.append("\n".join(line.removeprefix("\t") for line in lines))
    return bodies


PAIRS = {
    "number": (
        'if got := Double(2); got != 5 {\n\tt.Errorf("Double(2) = %d, want 5", got)\n}',
        f'if got := Double(2); got != 4 {{ {MARK}\n\tt.Errorf("Double(2) = %d, want 4", got)\n}}',
    ),
    "right": (
        "if got := Double(2); got != 4 {\n\tt.Error(got)\n}",
        "if got := Double(2); got != 4 {\n\tt.Error(got)\n}",
    ),
    "call": (
        "if Double(-2) != 4 { t.Fail() }",
        f"if Double(-2) != -4 {{ t.Fail() }} {MARK}",
    ),
    "pair": (
        "if got, want := Double(2), 5; got != want {\n\tt.Error(got)\n}",
        f"if got, want := Double(2), 4; got != want {{ {MARK}\n\tt.Error(got)\n}}",
    ),
    "variables": (
        "got := Double(2)\nwant := 5\nif got != want {\n\tt.Error(got)\n}",
        f"got := Double(2)\nwant := 4 {MARK}\nif got != want {{\n\tt.Error(got)\n}}",
    ),
    "reversed": (
        "var expected int64 = 5\nif expected != Twice(2) {\n\tt.Error()\n}",
        f"var expected int64 = 4 {MARK}\nif expected != Twice(2) {{\n\tt.Error()\n}}",
    ),
    "rune": (
        "if got := First(\"abc\"); got != 'x' {\n\tt.Error(got)\n}",
        f"if got := First(\"abc\"); got != 'a' {{ {MARK}\n\tt.Error(got)\n}}",
    ),
    "short float": (
        "if got := Half(1.5); got != 1 {\n\tt.Error(got)\n}",
        f"if got := Half(1.5); got != 0.5 {{ {MARK}\n\tt.Error(got)\n}}",
    ),
    "float": (
        'if got := Half(1); got != 0.25 {\n\tt.Errorf("want 0.25, got %v", got)\n}',
        f"if got := Half(1); math.Abs(got-0.3333333333333333) > 1e-9 {{ {MARK}\n"
        '\tt.Errorf("want 0.3333333333333333, got %v", got)\n}',
    ),
    "tolerance": (
        "if got := Half(1); math.Abs(got-0.25) > 0.001 {\n\tt.Error(got)\n}",
        f"if got := Half(1); math.Abs(got-0.3333333333333333) > 0.001 {{ {MARK}\n\tt.Error(got)\n}}",
    ),
    "slice": (
        'got, err := Names(1)\nif err != nil {\n\tt.Fatal(err)\n}\nwant := []string{"b"}\n'
        "if !reflect.DeepEqual(got, want) {\n\tt.Error(got)\n}",
        f'got, err := Names(1)\nif err != nil {{\n\tt.Fatal(err)\n}}\nwant := []string{{"a"}} {MARK}\n'
        "if !reflect.DeepEqual(got, want) {\n\tt.Error(got)\n}",
    ),
    "map": (
        'if got := Counts(); !reflect.DeepEqual(got, map[string][]int{"a": {1}}) {\n\tt.Error(got)\n}',
        'if got := Counts(); !reflect.DeepEqual(got, map[string][]int{"a": []int(nil), "b": {2}})'
        f" {{ {MARK}\n\tt.Error(got)\n}}",
    ),
    "struct": (
        "if got, want := Move(0), (Point{}); got != want {\n\tt.Error(got)\n}\n"
        "want := Point{X: 1}\nif got := Move(3); got != want {\n\tt.Error(got)\n}",
        None,
    ),
    "struct in a variable": (
        "want := Point{X: 1}\nif got := Move(3); got != want {\n\tt.Error(got)\n}",
        f"want := Point{{X: 3, y: 1}} {MARK}\nif got := Move(3); got != want {{\n\tt.Error(got)\n}}",
    ),
    "error": (
        'if _, err := Names(-1); err != nil {\n\tt.Fatalf("unexpected: %v", err)\n}',
        f'if _, err := Names(-1); err == nil {{ {MARK}\n\tt.Fatal("err is nil")\n}}',
    ),
    "no error": (
        'if _, err := Names(1); err == nil {\n\tt.Error("no error")\n}',
        f'if _, err := Names(1); err != nil {{ {MARK}\n\tt.Errorf("err = %v, want nil", err)\n}}',
    ),
    "two in one": (
        "if got, err := Names(-1); err == nil || len(got) != 1 {\n\tt.Error(got, err)\n}",
        f"if got, err := Names(-1); err == nil || len(got) != 0 {{ {MARK}\n\tt.Error(got, err)\n}}",
    ),
    "condition": (
        'if !strings.HasPrefix("ab", "b") {\n\tt.Error("got false, want true")\n}\nDouble(1)',
        f'if strings.HasPrefix("ab", "b") {{ {MARK}\n\tt.Error("got false, want false")\n}}\nDouble(1)',
    ),
    "calls are made once": (
        "c := &Counter{}\nc.Add()\nif c.Add() != 3 {\n\tt.Error()\n}\nif got := c.Add(); got != 3 {\n"
        "\tt.Error(got)\n}",
        f"c := &Counter{{}}\nc.Add()\nif c.Add() != 2 {{ {MARK}\n\tt.Error()\n}}\n"
        "if got := c.Add(); got != 3 {\n\tt.Error(got)\n}",
    ),
    "table": (
        """tests := []struct {
	name string
	x    int
	want int
}{
	{"one", 1, 2},
	{"two", 2, 5},
	{name: "zero", want: 1},
	{name: "three", x: 3},
}
for _, tt := range tests {
	t.Run(tt.name, func(t *testing.T) {
		if got := Double(tt.x); got != tt.want {
			t.Errorf("Double(%d) = %d, want %d", tt.x, got, tt.want)
		}
	})
}""",
        f"""tests := []struct {{
	name string
	x    int
	want int
}}{{
	{{"one", 1, 2}},
	{{"two", 2, 4}}, {MARK}
	{{name: "zero", want: 0}}, {MARK}
	{{name: "three", x: 3, want: 6}}, {MARK}
}}
for _, tt := range tests {{
	t.Run(tt.name, func(t *testing.T) {{
		if got := Double(tt.x); got != tt.want {{
			t.Errorf("Double(%d) = %d, want %d", tt.x, got, tt.want)
		}}
	}})
}}""",
    ),
    "other conditions are not corrected": ("if Double(2) > 3 {\n\tt.Error()\n}", None),
    "loops that see different values": (
        "for i := 0; i < 2; i++ {\n\tif Double(i) != 1 {\n\t\tt.Error(i)\n\t}\n}",
        None,
    ),
}


def test_wrong_values_get_the_observed_ones(tmp_path: Path) -> None:
    require_program("go")
    tests = [go_test(body, f"TestCase{number}") for number, (body, _) in enumerate(PAIRS.values())]
    with opened(tmp_path, FILES, "return 2 * x", "go", *tests) as project:
        bodies = repaired(project)
    expected = [new for _, new in PAIRS.values() if new is not None]
    assert bodies == expected


TESTIFY = """package assert

import "reflect"

type T interface{ Errorf(format string, args ...interface{}) }

func Equal(t T, want, got interface{}) bool {
	if !reflect.DeepEqual(want, got) {
		t.Errorf("not equal: %v, %v", want, got)
		return false
	}
	return true
}

func True(t T, value bool) bool  { return Equal(t, true, value) }
func False(t T, value bool) bool { return Equal(t, false, value) }
func NoError(t T, err error) bool { return Equal(t, nil, err) }
func Error(t T, err error) bool   { return Equal(t, true, err != nil) }
"""


def test_testify(tmp_path: Path) -> None:
    require_program("go")
    module = "github.com/stretchr/testify"
    files = FILES | {
        "go.mod": f"module shop\n\ngo 1.19\n\nrequire {module} v1.8.0\n\nreplace {module} => ./testify\n",
        "testify/go.mod": f"module {module}\n",
        "testify/assert/assert.go": TESTIFY,
        "other_test.go": f'package shop\n\nimport "{module}/assert"\n\nvar _ = assert.Equal\n',
        "shop_test.go": f'package shop\n\nimport (\n\t"testing"\n\n\t"{module}/assert"\n)\n\n'
        "func TestOld(t *testing.T) {\n\tassert.Equal(t, 2, Double(1))\n}\n",
    }
    body = """assert.Equal(t, 5, Double(2))
assert.Equal(t, int64(5), Twice(2))
_, err := Names(-1)
assert.NoError(t, err)
assert.True(t, Double(1) == 3)
assert.False(t, Double(1) == 3)"""
    with opened(tmp_path, files, "return 2 * x", "go", go_test(body)) as project:
        (text,) = repaired(project)
    assert text.split("\n") == [
        f"assert.Equal(t, 4, Double(2)) {MARK}",
        f"assert.Equal(t, int64(4), Twice(2)) {MARK}",
        "_, err := Names(-1)",
        f"assert.Error(t, err) {MARK}",
        f"assert.False(t, Double(1) == 3) {MARK}",
        "assert.False(t, Double(1) == 3)",
    ]


def test_a_test_outside_of_the_package(tmp_path: Path) -> None:
    require_program("go")
    files = FILES | {
        "shop_test.go": 'package shop_test\n\nimport (\n\t"testing"\n\n\t"shop"\n)\n\n'
        "func TestOld(t *testing.T) {\n\tshop.Double(1)\n}\n",
    }
    body = "want := Point{X: 1}\nif got := Move(3).X; got != want.X + 1 {\n\tt.Error(got)\n}"
    test = go_test("if got := Double(2); got != 5 {\n\tt.Error(got)\n}", "TestRight")
    with opened(tmp_path, files, "return 2 * x", "go", test, go_test(body)) as project:
        (text,) = repaired(project)
    assert text == f"if got := Double(2); got != 4 {{ {MARK}\n\tt.Error(got)\n}}"


@pytest.mark.parametrize("literal", ["1 << 63", "undefined"])
def test_a_test_that_cannot_be_observed_stays_as_it_is(tmp_path: Path, literal: str) -> None:
    require_program("go")
    odd = go_test(f"if uint64(Double(2)) != {literal} {{\n\tt.Error()\n}}", "TestOdd")
    wrong = go_test("if Double(2) != 5 {\n\tt.Error()\n}")
    with opened(tmp_path, FILES, "return 2 * x", "go", odd, wrong) as project:
        texts = project.repaired()
    assert texts[0] == odd[1]
    assert f"Double(2) != 4 {{ {MARK}" in texts[1]

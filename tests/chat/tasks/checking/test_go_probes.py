"""Tests of Go functions with further arguments: they pass, and look as a person writes them."""

from pathlib import Path

import pytest

from tests.chat.tasks.checking.running import opened, require_program

HEAD = """package shop

import (
	"errors"
	"sort"
	"strings"
)

var _, _, _ = errors.New, sort.Ints, strings.ToUpper

type Point struct {
	X, y int
}

type Account struct {
	balance int
}

func NewAccount(balance int) *Account { return &Account{balance: balance} }

func (a *Account) Deposit(amount int) { a.balance += amount }

"""
MOD = "module shop\n\ngo 1.19\n"
MARK = "// current behaviour"
CLAMP = """func Clamp(x, low, high int) int {
	if x < low {
		return low
	}
	if x > high {
		return high
	}
	return x
}
"""


def probes(
    folder: Path, function: str, cursor: str, *tests: tuple[str, str], existing: str = ""
) -> dict[str, str]:
    """Return the bodies of further tests for a function by their names. All of them pass."""
    require_program("go")
    files = {"shop.go": HEAD + function, "go.mod": MOD}
    if existing:
        files["shop_test.go"] = existing
    with opened(folder, files, cursor, "go", *tests) as project:
        new = project.runner.probe(project.job, project.generated)
        if not new.tests:
            return {}
        (run,) = project.runner.run(project.job, new, [None])
    assert run.passed == {test.name for test in new.tests}, (run.failed, run.problem)
    for test in new.tests:
        assert test.text.startswith(f"func {test.name}(t *testing.T) {{\n")
        assert test.text.count(MARK) >= 1
    return {test.name: "\n".join(test.text.split("\n")[1:-1]) for test in new.tests}


def test_numbers(tmp_path: Path) -> None:
    given_test = (
        "TestClampOf3And0And3",
        "func TestClampOf3And0And3(t *testing.T) {\n\tif Clamp(5, 1, 3) != 3 {\n\t\tt.Error()\n\t}\n}",
    )
    bodies = probes(tmp_path, CLAMP, "return low", given_test)
    assert bodies["TestClampOf6And1And3"] == (
        f"\tif got := Clamp(6, 1, 3); got != 3 {{ {MARK}\n"
        '\t\tt.Errorf("Clamp(6, 1, 3) = %d, want 3", got)\n\t}'
    )
    assert "Clamp(-2, 3, 3); got != 3" in bodies["TestClampOfMinus2And3And3"]
    assert bodies.keys() >= {"TestClampOf3And0And32"}  # the other name is taken
    assert not any("Clamp(5, 1, 3)" in body for body in bodies.values())


def test_texts_have_their_quotes_in_messages(tmp_path: Path) -> None:
    function = 'func Join(s string) string { return strings.ReplaceAll(s, ", ", "%") }\n'
    bodies = probes(tmp_path, function, "return strings")
    assert bodies["TestJoinOfEmptyText"] == (
        f'\tif got := Join(""); got != "" {{ {MARK}\n'
        '\t\tt.Errorf(`Join("") = %q, want ""`, got)\n\t}'
    )
    assert 'want "a1%%b2"`, got)' in bodies["TestJoinOfText2"]


def test_errors_and_slices(tmp_path: Path) -> None:
    function = """func Largest(values []int) ([]int, error) {
	if len(values) == 0 {
		return nil, errors.New("empty")
	}
	own := append([]int{}, values...)
	sort.Ints(own)
	return own[len(own)-1:], nil
}
"""
    bodies = probes(tmp_path, function, "return nil")
    assert bodies["TestLargestOfEmptySlice"] == (
        f"\tif _, err := Largest([]int{{}}); err == nil {{ {MARK}\n"
        '\t\tt.Error("Largest([]int{}) returned no error")\n\t}'
    )
    assert bodies["TestLargestOfSlice"] == (
        "\tgot, err := Largest([]int{3, 1, 2})\n\tif err != nil {\n\t\tt.Fatal(err)\n\t}\n"
        f"\twant := []int{{3}} {MARK}\n\tif !reflect.DeepEqual(got, want) {{\n"
        '\t\tt.Errorf("Largest([]int{3, 1, 2}) = %v, want %v", got, want)\n\t}'
    )
    assert "TestLargestOfSingleSlice" in bodies


def test_nothing_is_returned_but_changed(tmp_path: Path) -> None:
    bodies = probes(
        tmp_path, "func Order(values []int) { sort.Ints(values) }\n", "sort.Ints(values)"
    )
    assert bodies["TestOrderOfSlice"] == (
        "\tvalues := []int{3, 1, 2}\n\tOrder(values)\n"
        f"\twant := []int{{1, 2, 3}} {MARK}\n\tif !reflect.DeepEqual(values, want) {{\n"
        '\t\tt.Errorf("Order([]int{3, 1, 2}) = %v, want %v", values, want)\n\t}'
    )
    assert "TestOrderOfEmptySlice" not in bodies  # nothing changes


def test_methods_of_an_object_that_a_function_makes(tmp_path: Path) -> None:
    function = "func (a *Account) CanPay(price int) bool { return price <= a.balance }\n"
    bodies = probes(tmp_path, function, "return price")
    assert bodies["TestCanPayOf10"] == (
        "\ta := NewAccount(3)\n\ta.Deposit(3)\n\ta.Deposit(1)\n\ta.Deposit(2)\n"
        f"\tif got := a.CanPay(10); got {{ {MARK}\n"
        '\t\tt.Errorf("a.CanPay(10) = %v, want false", got)\n\t}'
    )
    assert any("\ta := NewAccount(3)\n\tif got := a.CanPay" in body for body in bodies.values())


def test_methods_of_a_struct_and_floats(tmp_path: Path) -> None:
    function = "func (p Point) Part(n float64) float64 { return float64(p.X) / n / 7 }\n"
    bodies = probes(tmp_path, function, "return float64")
    assert bodies["TestPartOf2Point5"] == (
        "\tp := &Point{X: 3, y: 3}\n"
        f"\tif got := p.Part(2.5); math.Abs(got-0.17142857142857143) > 1e-9 {{ {MARK}\n"
        '\t\tt.Errorf("p.Part(2.5) = %v, want 0.17142857142857143", got)\n\t}'
    )
    assert not any("Inf" in body for body in bodies.values())


def test_only_panics_of_the_function_itself_are_expected(tmp_path: Path) -> None:
    function = """func Pick(values []int, index int) int {
	if index < 0 {
		panic("negative index")
	}
	return values[index]
}
"""
    bodies = probes(tmp_path, function, "return values")
    assert bodies["TestPickOfSliceAndMinus2"] == (
        f"\tdefer func() {{\n\t\tif recover() == nil {{ {MARK}\n"
        '\t\t\tt.Error("Pick([]int{3, 1, 2}, -2) did not panic")\n\t\t}\n\t}()\n'
        "\tPick([]int{3, 1, 2}, -2)"
    )
    assert "TestPickOfSliceAnd10" not in bodies
    assert "TestPickOfSliceAnd0" in bodies


def test_other_kinds_of_parameters(tmp_path: Path) -> None:
    function = """type Level uint8

func Mix[T any](m map[string]bool, level Level, p *Point, rest ...T) (n int, ok bool, err error) {
	return len(m) + int(level) + p.X + len(rest), m["a"], nil
}
"""
    bodies = probes(tmp_path, function, "return len(m)")
    assert bodies["TestMixOfMapAnd3AndValueAndArguments"] == (
        '\tgot, ok, err := Mix(map[string]bool{"a": true, "b": false}, 3, &Point{X: 3, y: 3}, 3, 1, 2)\n'
        "\tif err != nil {\n\t\tt.Fatal(err)\n\t}\n"
        f"\tif got != 11 {{ {MARK}\n"
        '\t\tt.Errorf(`Mix(map[string]bool{"a": true, "b": false}, 3, &Point{X: 3, y: 3}, 3, 1, 2)'
        " = %d, want 11`, got)\n\t}\n"
        f"\tif !ok {{ {MARK}\n"
        '\t\tt.Errorf(`Mix(map[string]bool{"a": true, "b": false}, 3, &Point{X: 3, y: 3}, 3, 1, 2)'
        " = %v, want true`, ok)\n\t}"
    )


def test_a_test_outside_of_the_package_names_it(tmp_path: Path) -> None:
    existing = 'package shop_test\n\nimport (\n\t"testing"\n\n\t"shop"\n)\n\n'
    existing += "func TestMoveOf3(t *testing.T) {\n\tshop.Move(3)\n}\n"
    function = "func Move(x int) Point {\n\treturn Point{X: x}\n}\n"
    bodies = probes(tmp_path, function, "return Point", existing=existing)
    assert "\twant := Point{X: 3} " + MARK in bodies["TestMoveOf32"]


@pytest.mark.parametrize(
    ("function", "cursor"),
    [
        ("func Wait(c chan int) int { return <-c }\n", "return <-c"),
        ("func Make(n int) *Point { return &Point{X: n} }\n", "return &Point"),
        ("func Say(n int) { println(n) }\n", "println"),
        ("func Six(a, b, c, d, e, f int) int { return a }\n", "return a"),
        ("func At(n int) int { return []int{}[n] }\n", "return []int"),
    ],
    ids=["channel", "pointer", "no result", "many parameters", "runtime panic"],
)
def test_functions_for_which_there_are_no_further_tests(
    tmp_path: Path, function: str, cursor: str
) -> None:
    assert probes(tmp_path, function, cursor) == {}

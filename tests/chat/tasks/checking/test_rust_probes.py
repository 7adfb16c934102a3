"""Further calls of functions in Rust, and what Cargo observes."""

import re
from pathlib import Path

import pytest

from chat.tasks.checking.rust.definitions import Type
from chat.tasks.checking.rust.probes import Probes, is_own_panic, make_probes
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject
from syntax.grammars import count_errors
from syntax.symbols import find_symbols
from tests.chat.tasks.checking.running import opened, require_program

MANIFEST = '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2021"\n'
NONE = GeneratedTests((), (), ())


def subject(code: str, name: str = "f") -> Subject:
    symbols = (each for each in find_symbols(code, "rust") if each.kind == "function")
    symbol = next(each for each in symbols if each.name == name)
    return Subject(symbol, Path("/p/src/lib.rs"), code, "rust")


def probes(code: str, *tests: str, name: str = "f", is_inside: bool = True) -> Probes | None:
    snippets = tuple(Snippet(f"t{i}", f"fn t{i}() {{ {text} }}") for i, text in enumerate(tests))
    generated = GeneratedTests((), (), snippets)
    own_probes = make_probes(generated, subject(code, name), {"f_of_3"}, is_inside=is_inside)
    if own_probes is not None:
        names = [each.name for each in own_probes.probes]
        assert len(set(names)) == len(names) <= 28
        assert all(re.fullmatch(r"\w{1,80}", each) for each in names)
        assert all(count_errors(each.text, "rust") == 0 for each in own_probes.observing.tests)
    return own_probes


def calls(code: str, *tests: str, name: str = "f", is_inside: bool = True) -> list[str]:
    own_probes = probes(code, *tests, name=name, is_inside=is_inside)
    return [] if own_probes is None else [" ".join((*e.setup, e.call)) for e in own_probes.probes]


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("i32", ["f(3)", "f(0)", "f(-2)", "f(10)"]),
        ("u8", ["f(6)", "f(0)", "f(10)", "f(1)"]),
        ("usize", ["f(2)", "f(0)", "f(1)"]),
        ("f64", ["f(2.5)", "f(0.0)", "f(-1.5)"]),
        ("bool", ["f(true)", "f(false)"]),
        ("char", ["f('a')", "f('Z')", "f('5')"]),
        ("&str", ['f("Hello World")', 'f("")']),
        ("&'static str", ['f("Hello World")', 'f("")']),
        ("String", ['f("Hello World".to_string())', "f(String::new())"]),
        ("&String", ['f(&"Hello World".to_string())', "f(&String::new())"]),
        ("&[i32]", ["f(&[3, 1, 2])", "f(&[])", "f(&[5])", "f(&[1, 2, 2, 4])", "f(&[-4, 0, 7])"]),
        ("&[u32]", ["f(&[3, 1, 2])", "f(&[])", "f(&[5])", "f(&[1, 2, 2, 4])"]),
        ("Vec<f64>", ["f(vec![3.0, 1.0, 2.5])", "f(vec![])"]),
        ("&[&str]", ['f(&["b", "a", "b"])', "f(&[])", 'f(&["x"])']),
        ("[i32; 2]", ["f([3, 1])", "f([5, 5])"]),
        ("Option<i32>", ["f(Some(3))", "f(None)", "f(Some(0))"]),
        ("Option<&str>", ['f(Some("Hello World"))', "f(None)"]),
        ("Result<u8, String>", ["f(Ok(6))", 'f(Err("Hello World".to_string()))']),
        ("(i32, bool)", ["f((3, true))", "f((0, false))"]),
        ("(char,)", ["f(('a',))"]),
        ("&(i32, char)", ["f(&(3, 'a'))"]),
        ("Box<i32>", ["f(Box::new(3))"]),
        ("HashMap<u8, bool>", ["f(HashMap::from([(6, true), (0, false)]))", "f(HashMap::new())"]),
        ("std::collections::BTreeSet<i8>", ["f(BTreeSet::from([3, 1, 2]))"]),
        ("Vec<Vec<u8>>", ["f(vec![vec![3, 1, 2], vec![], vec![5]])", "f(vec![])"]),
        ("impl Into<String>", ['f("Hello World")']),
        ("impl Fn(i32) -> bool", ["f(|x| x > 1)", "f(|x| x < 1)"]),
        ("&dyn Fn(&f64) -> f64", ["f(&|x| *x + 1.0)"]),
        ("fn(u8, u8) -> u8", ["f(|a, b| a + b)", "f(|a, b| a - b)"]),
        ("&mut Vec<i32>", ["let mut x = vec![3, 1, 2]; f(&mut x)"]),
        ("Cow<'a, str>", ['f("Hello World")']),
        ("Alias", ["f(&[3, 1, 2])"]),
    ],
)
def test_samples_fit_the_types(parameter: str, expected: list[str]) -> None:
    written = calls(f"type Alias = &'static [i32]; fn f(x: {parameter}) -> i32 {{ g() }}")
    assert written[: len(expected)] == expected


@pytest.mark.parametrize(
    "code",
    [
        "fn f(x: Unknown) -> i32 { g() }",
        "fn f(x: [u8; N]) -> i32 { g() }",
        "fn f(x: Loop) -> i32 { g() } type Loop = Vec<Loop>;",
        "fn f(x: i32) {}",
        "fn f(x: i32) -> ! { loop {} }",
        "fn f(x: i32) -> Unknown { g() }",
        "struct S; fn f(x: i32) -> Option<S> { g() }",
        "async fn f(x: i32) -> i32 { x }",
        "unsafe fn f(x: i32) -> i32 { x }",
        "fn f(a: u8, b: u8, c: u8, d: u8, e: u8) -> u8 { a }",
        "struct S { own: Unknown } impl S { fn f(&self) -> u8 { 1 } }",
        "fn f(x: impl Fn()) -> u8 { 1 }",
        f"fn f(x: {'Vec<' * 900}u8{'>' * 900}) -> u8 {{ 1 }}",
    ],
)
def test_what_cannot_be_called_or_seen_has_no_probes(code: str) -> None:
    assert calls(code) == []


def test_classes_have_no_probes() -> None:
    code = "struct S { x: u8 }"
    symbol = next(iter(find_symbols(code, "rust")))
    assert (
        make_probes(NONE, Subject(symbol, Path("/a.rs"), code, "rust"), set(), is_inside=True)
        is None
    )


@pytest.mark.parametrize(
    ("generics", "parameter", "expected"),
    [
        ("<T: Ord>", "&[T]", ["f(&[3, 1, 2])", "f(&Vec::<i32>::new())"]),
        ("<T>", "Option<T>", ["f(Some(3))", "f(None::<i32>)"]),
        ("<T: Float>", "T", ["f(2.5)"]),
        ("<S: AsRef<str>>", "S", ['f("Hello World")']),
        ("<'a, F>", "F", ["f(|x| *x > 1)"]),
        ("<T, F: Fn(T, T) -> T>", "F", ["f(|a, b| a + b)"]),
    ],
)
def test_type_parameters_become_usual_types(
    generics: str, parameter: str, expected: list[str]
) -> None:
    code = f"fn f{generics}(x: {parameter}) -> bool where F: Fn(&i32) -> bool {{ g() }}"
    code = code.replace(" where F: Fn(&i32) -> bool", "") if "<'a" not in generics else code
    assert calls(code)[: len(expected)] == expected


def test_values_at_the_borders_of_constants_and_examples_are_tried() -> None:
    number = calls("const TOP: u8 = 255;\nfn f(x: u8) -> bool { x < 18 || x > 1_0 || x == TOP }")
    assert {"f(17)", "f(18)", "f(19)", "f(10)", "f(9)", "f(11)", "f(255)", "f(254)"} <= {*number}
    assert "f(256)" not in number
    assert {"f(7.0)", "f(7.5)", "f(0.5)"} <= {*calls("fn f(x: f32) -> bool { x < 7.0 || x < 0.5 }")}
    assert "f('\\'')" in calls("fn f(x: char) -> bool { x == '\\'' }")
    text = calls("/// Parse `#ff8000` as [`Color`].\nfn f(x: &str) -> bool { x.starts_with(':') }")
    assert {'f("#ff8000")', 'f("#ff800z")', 'f("#FF8000")', 'f(":")', 'f("1:2")'} <= {*text}
    assert 'f("Color")' not in text


def test_literals_in_tests_are_tried_but_not_the_same_call() -> None:
    code = "fn f(x: u16, y: &str) -> bool { x > 0 }"
    written = calls(code, 'assert!(f(77, "a,b"));', "assert_eq!(f(y, &z()), true); g(5);")
    assert written[:3] == ['f(6, "Hello World")', 'f(6, "a,b")', 'f(77, "Hello World")']
    assert 'f(77, "a,b")' in written
    assert not any("z()" in each or each[2] == "y" or "f(5," in each for each in written)
    assert "f(6)" not in calls("fn f(x: u8) -> u8 { x }", "assert_eq!(f(6), 6);")


STACK = """
#[derive(Default)]
pub struct Stack<T> { items: Vec<T>, pub limit: usize }
impl<T: Clone> Stack<T> {
    pub fn new(limit: usize) -> Self { Self { items: vec![], limit } }
    pub fn push(&mut self, item: T) { self.items.push(item); }
    fn hidden(&mut self, n: usize) { self.limit = n; }
    pub fn pop(&mut self) -> Option<T> { self.items.pop() }
    pub fn peek(&self) -> Option<&T> { self.items.last() }
    pub fn of(item: T) -> Option<T> { Some(item) }
}
"""


def test_objects_are_made_in_several_ways() -> None:
    new = "let mut stack = Stack::<i32>::new(2);"
    pop = calls(STACK, name="pop")
    assert pop[0] == f"{new} stack.push(3); stack.push(-2); stack.pop()"
    assert f"{new} stack.hidden(2); stack.pop()" not in pop[:2]
    assert f"{new} stack.pop()" in pop
    assert "let mut stack = Stack { items: vec![3, 1, 2], limit: 2 }; stack.pop()" in pop
    assert "let mut stack = Stack::<i32>::default(); stack.pop()" in pop
    assert "Stack::<i32>::new(2).peek()" in calls(STACK, name="peek")
    assert "Stack { items: vec![3, 1, 2], limit: 2 }.peek()" in calls(STACK, name="peek")
    assert calls(STACK, name="of")[0] == "Stack::<i32>::of(3)"
    outside = calls(STACK, name="pop", is_inside=False)
    assert f"{new} stack.pop()" in outside
    assert not any("items:" in each or "hidden" in each for each in outside)


def test_private_functions_change_no_objects_outside() -> None:
    code = (
        "pub struct S { x: u8 } impl S { pub fn new(x: u8) -> Self { S { x } }"
        " fn hidden(&mut self, x: u8) { self.x = x; } pub fn f(&mut self) -> u8 { self.x } }"
    )
    assert any("hidden" in each for each in calls(code))
    outside = calls(code, is_inside=False)
    assert outside[0] == "let mut s = S::new(6); s.f()"
    assert not any("hidden" in each for each in outside)


def test_a_type_that_is_made_from_itself() -> None:
    code = "pub struct S; impl S { pub fn new(other: S) -> S { other } fn f(self) -> u8 { 1 } }"
    assert calls(code) == ["S::new(S).f()", "S.f()"]


def test_fields_and_arguments_that_change_are_looked_at() -> None:
    code = "pub struct S { pub x: u8, y: u8 } impl S { pub fn f(&mut self, z: &mut u8) {} }"
    for is_inside, fields in ((True, ["s.x", "s.y"]), (False, [])):
        own_probes = probes(f"impl S {{ pub fn new() -> S {{ g() }} }} {code}", is_inside=is_inside)
        assert own_probes is not None
        watched = [each for each, _ in own_probes.probes[0].watched]
        assert watched == ["z", *(fields or ["s.x"])]
    counted = probes(code.replace("{} }", "-> u8 { 1 } }"))
    assert counted is not None
    assert [each for each, _ in counted.probes[0].watched] == ["z"]
    own_probes = probes(code)
    assert own_probes is not None
    output = "".join(
        f"starcoder-seen 0 {kind} {index} {value}\n"
        for kind, values in (("before", (1, 2, 3)), ("after", (1, 5, 3)))
        for index, value in enumerate(values)
    )
    (test,) = own_probes.written(own_probes.observed(f"{output}starcoder-seen 0 ended\n", "")).tests
    assert test.text.count("assert") == 1
    assert "assert_eq!(s.x, 5); // current behaviour" in test.text
    assert own_probes.written(own_probes.observed(output, "")).tests == ()  # it did not end


def test_enums_and_structs_are_arguments() -> None:
    code = (
        "pub enum Shape { Circle(f64), Box { w: u8 }, Unit } pub struct Point(pub i32, u8);"
        "struct Node { next: Option<Box<Node>> }"
    )
    assert calls(f"{code} fn f(x: &Shape) -> f64 {{ 1.0 }}")[:3] == [
        "f(&Shape::Circle(2.5))",
        "f(&Shape::Box { w: 6 })",
        "f(&Shape::Unit)",
    ]
    assert calls(f"{code} fn f(x: Point) -> f64 {{ 1.0 }}")[0] == "f(Point(3, 6))"
    assert calls(f"{code} fn f(x: Point) -> f64 {{ 1.0 }}", is_inside=False) == []
    assert calls(f"{code} fn f(x: Node) -> f64 {{ 1.0 }}") == []


TYPES = """
#[derive(Debug, PartialEq)] pub struct Point { pub x: i32, y: Option<u8> }
#[derive(Debug, PartialEq)] pub struct Pair<T>(T, pub String);
#[derive(Debug, PartialEq)] pub enum Error { Empty, Long(usize), Bad { at: char } }
#[derive(Debug)] pub struct Opaque { x: i32 }
"""


@pytest.mark.parametrize(
    ("returned", "value", "expected"),
    [
        ("i32", "-3", "assert_eq!(f(), -3);"),
        ("bool", "true", "assert!(f());"),
        ("bool", "false", "assert!(!f());"),
        ("&bool", "false", "assert!(!*f());"),
        ("char", "'\\''", "assert_eq!(f(), '\\'');"),
        ("&str", '"a\\n"', 'assert_eq!(f(), "a\\n");'),
        ("String", '"a"', 'assert_eq!(f(), "a");'),
        ("&String", '"a"', 'assert_eq!(f(), "a");'),
        ("f64", "2.25", "assert_eq!(f(), 2.25);"),
        ("f64", "0.3333333333333333", "assert!((f() - 0.333333).abs() < 1e-5);"),
        ("f32", "-1.23456789", "assert!((f() - (-1.23457)).abs() < 1e-4);"),
        ("f64", "NaN", "assert!(f().is_nan());"),
        ("f64", "-inf", "assert_eq!(f(), -f64::INFINITY);"),
        ("f64", "1e300", None),
        ("Vec<i32>", "[1, 2]", "assert_eq!(f(), vec![1, 2]);"),
        ("Vec<i32>", "[]", "assert!(f().is_empty());"),
        ("Vec<String>", '["a", "b, c"]', 'assert_eq!(f(), vec!["a", "b, c"]);'),
        ("&[i32]", "[1]", "assert_eq!(f(), [1]);"),
        ("[u8; 0]", "[]", "assert_eq!(f(), []);"),
        ("Vec<(i32, String)>", '[(1, "a")]', 'assert_eq!(f(), vec![(1, "a".to_string())]);'),
        ("Option<i32>", "None", "assert_eq!(f(), None);"),
        ("Option<Option<i32>>", "Some(None)", "assert_eq!(f(), Some(None));"),
        ("Option<String>", 'Some("")', "assert_eq!(f(), Some(String::new()));"),
        ("Option<&[i32]>", "Some([1])", "assert_eq!(f(), Some(&[1][..]));"),
        ("Option<&mut u8>", "Some(1)", "assert_eq!(f(), Some(&mut 1));"),
        ("Option<f64>", "Some(0.3333333333)", "assert!((f().unwrap() - 0.333333).abs() < 1e-5);"),
        ("Option<Vec<f64>>", "Some([0.3333333333])", "assert!(f().is_some());"),
        ("Option<Opaque>", "None", "assert!(f().is_none());"),
        ("Result<(), String>", "Ok(())", "assert_eq!(f(), Ok(()));"),
        ("Result<u8, String>", 'Err("a")', 'assert_eq!(f(), Err("a".to_string()));'),
        ("Result<u8, ParseIntError>", "Ok(1)", "assert_eq!(f(), Ok(1));"),
        ("Result<u8, ParseIntError>", "Err(ParseIntError { kind: Empty })", "assert!(f().is_err());"),
        ("Result<u8, Box<dyn Error>>", "Ok(1)", "assert_eq!(f().unwrap(), 1);"),
        ("io::Result<()>", "Ok(())", "assert!(f().is_ok());"),
        ("Result<u8, Error>", "Err(Long(3))", "assert_eq!(f(), Err(Error::Long(3)));"),
        ("Error", "Empty", "assert_eq!(f(), Error::Empty);"),
        ("Error", "Bad { at: 'x' }", "assert_eq!(f(), Error::Bad { at: 'x' });"),
        ("Point", "Point { x: 1, y: Some(2) }", "assert_eq!(f(), Point { x: 1, y: Some(2) });"),
        ("Pair<u8>", 'Pair(1, "a")', 'assert_eq!(f(), Pair(1, "a".to_string()));'),
        ("Opaque", "Opaque { x: 1 }", None),
        ("Ordering", "Less", "assert_eq!(f(), Ordering::Less);"),
        ("(u8,)", "(1,)", "assert_eq!(f(), (1,));"),
        ("HashMap<u8, bool>", "{20: true, 3: true}", "assert_eq!(f(), HashMap::from([(3, true), (20, true)]));"),
        ("BTreeSet<char>", "{'a'}", "assert_eq!(f(), BTreeSet::from(['a']));"),
        ("BTreeSet<char>", "{}", "assert!(f().is_empty());"),
        ("i32", "3 or 4", None),
        ("Vec<i32>", "[1 2]", None),
        ("String", f'"{"x" * 300}"', None),
    ],
)  # fmt: skip
def test_assertions_by_the_type(returned: str, value: str, expected: str | None) -> None:
    signature = probes(f"{TYPES} fn f() -> Option<{returned}> {{ g() }}")
    assert signature is not None or "Opaque" in returned
    code = f"{TYPES} fn f(x: u8) -> Result<u8, {returned}> {{ g() }} fn g() -> u8 {{ 1 }}"
    own_probes = probes(code)
    assert own_probes is not None
    type_ = own_probes.probes[0].returned.arguments[1]
    assert own_probes.assertions.of("f()", type_, value) == expected


def test_private_fields_are_not_written_outside() -> None:
    own_probes = probes(f"{TYPES} fn f() -> Option<Point> {{ g() }}", is_inside=False)
    assert own_probes is not None
    of = own_probes.assertions.of
    assert of("f()", Type("Point"), "Point { x: 1, y: Some(2) }") is None
    assert of("f()", Type("Error"), "Empty") == "assert_eq!(f(), Error::Empty);"


PANICS = """fn f(x: i32) -> i32 {
    assert!(x > 0);
    let y = x - 1;
    [1][y]
}
fn g() { panic!() }
"""


@pytest.mark.parametrize(
    ("path", "line", "is_own"),
    [
        ("src/lib.rs", 2, True),
        ("src/lib.rs", 3, False),
        ("src/lib.rs", 4, False),
        ("src/lib.rs", 6, False),
        ("src/other.rs", 2, False),
        ("lib.rs", 2, True),
    ],
)
def test_only_panics_of_the_function_itself_are_behaviour(
    path: str, line: int, is_own: bool
) -> None:
    assert is_own_panic(subject(PANICS), PANICS, path, line) is is_own
    short = "fn f() { panic!() }"
    assert is_own_panic(subject(short), short, "src/lib.rs", 1)
    shifted = f"mod tests {{\n}}\n{PANICS}"
    assert is_own_panic(subject(PANICS), shifted, path, line + 2) is is_own


def test_the_output_of_probes() -> None:
    output = """
test tests::m_0 ... 
starcoder-seen 0 before 0 [1]

starcoder-seen 0 returned 0 "a \\n b"

starcoder-seen 0 after 0 []

starcoder-seen 0 ended
ok
starcoder-seen 1 returned 0 5

thread 'starcoder-seen 2' (123) panicked at src/lib.rs:2:5:
too "small"
note: run with

thread 'starcoder-seen 3' panicked at src/lib.rs:3:13:
attempt to subtract with overflow
"""
    own_probes = probes(PANICS)
    assert own_probes is not None
    seen = own_probes.observed(output, PANICS)
    assert seen[0].values == {
        ("before", 0): "[1]",
        ("returned", 0): '"a \\n b"',
        ("after", 0): "[]",
    }
    assert seen[0].has_returned
    assert not seen[1].has_returned
    assert (seen[2].has_panicked, seen[2].message) == (True, 'too "small"')
    assert (seen[3].has_panicked, seen[3].message) == (True, None)


@pytest.fixture
def cargo() -> None:
    require_program("cargo")


CHECKED = """//! Code whose tests are above it.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_2_and_2() {
        assert_eq!(share(8, 2), 4);
    }
}

pub fn share(total: i32, count: i32) -> i32 {
    assert!(total >= 0, "a negative \\"total\\"");
    if count == 77 {
        loop {}
    }
    if count == 78 {
        return share(total, count);
    }
    println!("sharing");
    total / count
}
"""


@pytest.mark.usefixtures("cargo")
def test_observed_values_and_panics_become_tests(tmp_path: Path) -> None:
    files = {
        "src/lib.rs": CHECKED.replace("i32", "i16").replace("\n", "\r\n"),
        "Cargo.toml": MANIFEST,
    }
    with opened(tmp_path, files, "loop {}", "rust") as project:
        tests = project.runner.probe(project.job, NONE)
        plain, *mutants = project.runner.run(project.job, tests, [None, *project.mutations])
    texts = {test.name: test.text for test in tests.tests}
    assert plain.passed == {*texts}
    assert texts["share_of_3_and_minus_2"] == (
        "#[test]\nfn share_of_3_and_minus_2() {\n"
        "    assert_eq!(share(3, -2), -1); // current behaviour\n}"
    )
    assert texts["share_of_minus_2_and_3"] == (
        '#[test]\n#[should_panic(expected = "a negative \\"total\\"")] // current behaviour\n'
        "fn share_of_minus_2_and_3() {\n    share(-2, 3);\n}"
    )
    assert "share_of_3_and_76" in texts  # it comes after those that do not end
    assert not any("share(3, 0)" in text for text in texts.values())  # division by zero
    assert not any(re.search(r"share\(\d+, (?:77|78)\)", text) for text in texts.values())
    assert sum(bool(mutant.failed) for mutant in mutants) >= 3


BANK = """#[derive(Debug, PartialEq)]
pub enum Problem {
    TooLittle(u32),
}

pub struct Account {
    owner: String,
    balance: u32,
}

impl Account {
    pub fn new(owner: &str, balance: u32) -> Self {
        Self { owner: owner.to_string(), balance }
    }

    pub fn withdraw(&mut self, amount: u32) -> Result<(), Problem> {
        if amount > self.balance {
            return Err(Problem::TooLittle(amount - self.balance));
        }
        self.balance -= amount;
        Ok(())
    }
}
"""


@pytest.mark.usefixtures("cargo")
def test_a_method_with_private_fields(tmp_path: Path) -> None:
    files = {"src/lib.rs": BANK, "Cargo.toml": MANIFEST}
    with opened(tmp_path, files, "amount >", "rust") as project:
        tests = project.runner.probe(project.job, NONE)
        (run,) = project.runner.run(project.job, tests, [None])
    assert run.passed == {test.name for test in tests.tests}
    texts = [test.text for test in tests.tests]
    assert texts[0] == (
        "#[test]\nfn withdraw_of_6() {\n"
        '    let mut account = Account::new("Hello World", 6);\n'
        "    assert_eq!(account.withdraw(6), Ok(())); // current behaviour\n"
        "    assert_eq!(account.balance, 0); // current behaviour\n}"
    )
    assert any("Err(Problem::TooLittle(4))" in text for text in texts)


@pytest.mark.usefixtures("cargo")
def test_calls_that_do_not_compile_do_not_stop_others_of_an_integration_test(
    tmp_path: Path,
) -> None:
    code = (
        "use std::collections::BTreeMap;\n\npub struct Secret;\n\n"
        "pub fn count<T: Copy + Into<i64>>(items: &[T]) -> BTreeMap<i64, usize> {\n"
        "    let mut counts = BTreeMap::new();\n    for &item in items {\n"
        "        *counts.entry(item.into()).or_insert(0) += 1;\n    }\n    counts\n}\n"
    )
    old = "use shop::Secret;\n\n#[test]\nfn old() {\n    let _ = Secret;\n    assert!(true);\n}\n"
    files = {"src/lib.rs": code, "tests/shop.rs": old, "Cargo.toml": MANIFEST}
    wrong = ("wrong", '#[test]\nfn wrong() {\n    assert_eq!(count(&["a"]).len(), 1);\n}')
    with opened(tmp_path, files, "or_insert", "rust", wrong) as project:
        tests = project.runner.probe(project.job, project.generated)
        (run,) = project.runner.run(project.job, tests, [None])
    assert run.passed == {test.name for test in tests.tests}
    assert tests.tests[0].text == (
        "#[test]\nfn count_of_3_1_2() {\n"
        "    assert_eq!(count(&[3, 1, 2]), BTreeMap::from([(1, 1), (2, 1), (3, 1)])); // current behaviour\n}"
    )
    assert not any('"a"' in test.text for test in tests.tests)


@pytest.mark.usefixtures("cargo")
def test_a_function_without_result_that_changes_its_argument(tmp_path: Path) -> None:
    files = {
        "src/main.rs": "fn order(items: &mut [i32]) {\n    items.sort();\n}\n\nfn main() {\n    order(&mut [1]);\n}\n",
        "Cargo.toml": MANIFEST,
    }
    with opened(tmp_path, files, "items.sort", "rust") as project:
        tests = project.runner.probe(project.job, NONE)
        (run,) = project.runner.run(project.job, tests, [None])
    assert run.passed == {test.name for test in tests.tests}
    assert tests.tests[0].text == (
        "#[test]\nfn order_of_3_1_2() {\n    let mut items = [3, 1, 2];\n    order(&mut items);\n"
        "    assert_eq!(items, [1, 2, 3]); // current behaviour\n}"
    )

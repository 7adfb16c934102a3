"""Documentation of any form is seen, and new documentation goes where the language wants it.

The cursor is at `«`.
"""

import pytest

from chat.tasks.document import FillRequest, document
from chat.tasks.target import Target
from engine.errors import RequestError


async def documented(text: str, language: str, generated: str = "Say it.") -> str:
    """Return the file after the task."""
    start = text.index("«")
    text = text.replace("«", "")
    target = Target("file:///w/a", None, language, text, start, start)

    async def fill(_: FillRequest) -> str:
        return generated

    (edit,) = (await document(target, fill)).edits
    return text[: edit.start] + edit.text + text[edit.end :]


DOCUMENTED = {
    "python": [
        "def f():\n    r'''Say \\d.'''\n    return« 1\n",
        'def f():\n    u"Say."\n    return« 1\n',
        "def f():\n    b'Say.'\n    return« 1\n",
        "def f(a):\n    f'''Say {a}.'''\n    return« 1\n",
        "def f():\n    'Say ' 'it.'\n    return« 1\n",
        "def f():\n    ('Say '\n     'it.')\n    return« 1\n",
        "def f():\n    # Note.\n    'Say.'\n    return« 1\n",
        "class A:\n    async def f(self):\n        'Say.'\n        return« 1\n",
        "@a\nclass A:\n    'Say.'\n    x« = 1\n",
        "def f(a: int = 3) -> int:  # note\n    '''Say.'''\n    yield« 1\n",
        "def f(): 'Say.'; return« 1\n",
        "def f():\r    'Say.'\r    return« 1\r",
    ],
    "rust": [
        "/// Say.\nfn f() {« }\n",
        "/// Say.\n#[inline]\n#[must_use]\npub fn f() {« }\n",
        "#[inline]\n/// Say.\npub async fn f() {« }\n",
        '#[doc = "Say."]\nfn f() {« }\n',
        '#[inline]\n#[doc = "Say."]\n#[cold]\nfn f() {« }\n',
        "fn f() {\n    //! Say.\n    g();«\n}\n",
        "/** Say. */\nstruct A {« }\n",
        '#[cfg_attr(doc, doc = "Say.")]\nfn f() {« }\n',
        "impl A {\n    /// Say.\n    ///\n    /// More.\n\n    fn f() {« }\n}\n",
    ],
    "java": [
        "class A {\n  /** Say. */\n  @Override\n  @B(c)\n  void f() {« }\n}\n",
        "class A {\n  @Override\n  /** Say. */\n  public void f() {« }\n}\n",
        "class A {\n  /** Say. */\n\n  void f() {« }\n}\n",
        "class A {\n  // Says it.\n  void f() {« }\n}\n",
        "/**\n * Say.\n */\n@B\nclass A {« }\n",
    ],
    "javascript": [
        "/** Say. */\nexport default async function f() {« }\n",
        "/** Say. */\nconst f = () => {« };\n",
        "/** Say. */\n// eslint-disable-next-line\nfunction f() {« }\n",
        "class A {\n  /** Say. */\n  get x() {« }\n}\n",
    ],
    "typescript": [
        "/** Say. */\n@Component({})\nexport class A {« }\n",
        "class A {\n  /** Say. */\n  @Input()\n  f() {« }\n}\n",
        "class A {\n  @Input()\n  /** Say. */\n  f() {« }\n}\n",
        "/** Say. */\nfunction f(a: A): A;\nfunction f(a: B): B;\nfunction f(a: any) {« }\n",
        "/** Say. */\nexport function f(a: A): A;\nexport function f(a: any) {« }\n",
        "function f(a: A): A;\n/** Say. */\nfunction f(a: B): B;\nfunction f(a: any) {« }\n",
        "class A {\n  /** Say. */\n  f(a: A): A;\n\n  f(a: any) {« }\n}\n",
        "class A {\n  /** Say. */\n  @Input()\n  private f = () => {« };\n}\n",
    ],
    "go": [
        "package a\n\n// A is.\ntype A struct {\n\tx« int\n}\n",
        "package a\n\n// Types.\ntype (\n\t// A is.\n\tA struct {\n\t\tx« int\n\t}\n)\n",
        "package a\n\n// F says.\nfunc F() {« }\n",
        "package a\n\n// F says.\n// More.\n\nfunc F() {« }\n",
        "package a\n\n// F says.\n//\n// More.\nfunc F() {« }\n",
        "package a\n\n// F says.\n//\n//go:noinline\nfunc F() {« }\n",
        "package a\n\n/* F says. */\nfunc (a *A) F() {« }\n",
    ],
    "ruby": [
        "=begin\nSay.\n=end\ndef f\n  1«\nend\n",
        "class A\n  # Say.\n  def f\n    1«\n  end\nend\n",
        "# Say.\nprivate def f\n  1«\nend\n",
        "# Say.\n# rubocop:disable all\ndef f\n  1«\nend\n",
    ],
    "lua": [
        "--- Say.\n-- @param a\nlocal function f(a)\n  return« a\nend\n",
        "--[[ Say.\n]]\nfunction f(a)\n  return« a\nend\n",
        "--[==[ Say. ]==]\n\nfunction f(a)\n  return« a\nend\n",
    ],
    "csharp": [
        "class A {\n  /// <summary>Say.</summary>\n  [Obsolete]\n  void F() {« }\n}\n",
        "class A {\n  /** Say. */\n  public async Task F() {« }\n}\n",
        "class A {\n  /// <summary>Say.</summary>\n  int X {\n    get { return« 1; }\n  }\n}\n",
        "/// <summary>Say.</summary>\n[A]\npublic struct S {\n  int x«;\n}\n",
    ],
    "php": [
        "<?php\n/** Say. */\n#[Pure]\nfunction f() {« }\n",
        "<?php\nclass A {\n  /** Say. */\n  #[A, B]\n  public static function f() {« }\n}\n",
    ],
    "cpp": [
        "//! Say.\ntemplate <class T>\nint f() {« return 1; }\n",
        "/*! Say. */\nint f() {« return 1; }\n",
        "struct A {\n  /// Say.\n  ~A() {« }\n};\n",
        "/// Say.\n[[nodiscard]] int f() {« return 1; }\n",
        "namespace n {\n/** Say. */\ninline int f() {« return 1; }\n}\n",
    ],
    "c": ["/* Says it. */\nstatic int f(void) {« return 1; }\n"],
    "kotlin": ["class A {\n  /** Say. */\n  @B\n  fun f() {« }\n}\n"],
    "scala": ["class A {\n  /** Say. */\n  @b\n  def f = {« 1 }\n}\n"],
    "swift": [
        "class A {\n  /// Say.\n  @objc\n  func f() {« }\n}\n",
        "class A {\n  /// Say.\n  init() {\n    g()«\n  }\n}\n",
        "/// Say.\nprotocol P {\n  var x«: Int { get }\n}\n",
    ],
    "shellscript": ["#!/bin/sh\n# Say.\nf() {\n  exit« 1\n}\n"],
}


@pytest.mark.parametrize(
    ("language", "text"),
    [(language, text) for language, texts in DOCUMENTED.items() for text in texts],
)
async def test_a_documented_symbol_is_not_documented_again(language: str, text: str) -> None:
    with pytest.raises(RequestError, match="already"):
        await documented(text, language)


PLACES = [
    (
        "rust",
        "impl A {\n    #[inline]\n    // Fast.\n    #[cold]\n    pub fn f() {« }\n}\n",
        "impl A {\n    /// Say it.\n    #[inline]\n",
    ),
    ("rust", "//! The crate.\n\nfn f() {« }\n", "//! The crate.\n\n/// Say it.\nfn f"),
    (
        "java",
        "class A {\n  @Override\n  @B(c)\n  public void f() {« }\n}\n",
        "class A {\n  /**\n   * Say it.\n   */\n  @Override\n  @B(c)\n",
    ),
    (
        "typescript",
        "class A {\n  @Input()\n  f() {« }\n}\n",
        "class A {\n  /**\n   * Say it.\n   */\n  @Input()\n",
    ),
    (
        "typescript",
        "export function f(a: A): A;\nexport function f(a: any) {« }\n",
        "/**\n * Say it.\n */\nexport function f(a: A): A;\n",
    ),
    (
        "typescript",
        "function g(a: A): A;\nfunction f(a: any) {« }\n",
        "function g(a: A): A;\n/**\n * Say it.\n */\nfunction f",
    ),
    (
        "typescript",
        "class A {\n  b = 1;\n  @Input()\n  f = () => {« };\n}\n",
        "  b = 1;\n  /**\n   * Say it.\n   */\n  @Input()\n",
    ),
    ("go", "package a\n\ntype A struct {\n\tx« int\n}\n", "// A Say it.\ntype A struct"),
    ("ruby", "module M\n  private def f\n    1«\n  end\nend\n", "  # Say it.\n  private def f"),
    (
        "cpp",
        "struct A {\n  A operator+(A b) {« }\n};\n",
        "struct A {\n  /**\n   * Say it.\n   */\n  A operator",
    ),
    ("php", "<?php\ntrait A {\n  public $x« = 1;\n}\n", "<?php\n/**\n * Say it.\n */\ntrait A"),
    (
        "javascript",
        "let a; // Note.\nexport async function f() {« }\n",
        "let a; // Note.\n/**\n * Say it.\n */\nexport async",
    ),
    (
        "javascript",
        "// eslint-disable-next-line\nfunction f() {« }\n",
        "/**\n * Say it.\n */\n// eslint-disable-next-line\nfunction f",
    ),
    (
        "javascript",
        "// Part 1\n\nfunction f() {« }\n",
        "// Part 1\n\n/**\n * Say it.\n */\nfunction",
    ),
    ("javascript", "/** @file A. */\n\nfunction f() {« }\n", "/** @file A. */\n\n/**\n * Say it."),
    (
        "c",
        "/* Copyright A. */\nint f(void) {« }\n",
        "/* Copyright A. */\n/**\n * Say it.\n */\nint f",
    ),
    ("cpp", "template <class T>\nint f() {« }\n", "/**\n * Say it.\n */\ntemplate <class T>\n"),
    (
        "csharp",
        "class A {\n  [Obsolete]\n  void F() {« }\n}\n",
        "class A {\n  /**\n   * Say it.\n   */\n  [Obsolete]\n",
    ),
    ("php", "<?php\n#[Pure]\nfunction f() {« }\n", "<?php\n/**\n * Say it.\n */\n#[Pure]\n"),
    ("shellscript", "#!/bin/sh\nf() {\n  exit« 1\n}\n", "#!/bin/sh\n# Say it.\nf() {"),
    ("ruby", "# frozen_string_literal: true\ndef f\n  1«\nend\n", "true\n# Say it.\ndef f"),
    ("go", "package a\n\n// G says.\n\nfunc F() {« }\n", "// G says.\n\n// F Say it.\nfunc F"),
    (
        "go",
        "package a\n\n//go:noinline\nfunc F() {« }\n",
        "\n\n// F Say it.\n//go:noinline\nfunc F",
    ),
    (
        "python",
        "# About f.\n@cache\ndef f():\n    return« 1\n",
        '# About f.\n@cache\ndef f():\n    """Say it."""\n    return 1\n',
    ),
    (
        "python",
        "def f():\r    return« 1\r",
        'def f():\r    """Say it."""\r    return 1\r',
    ),
    ("python", "def f(a):\r\n\treturn« a\r\n", 'def f(a):\r\n\t"""Say it."""\r\n\treturn a\r\n'),
    (
        "python",
        "class A:\n    def f(self):\n        x = '''\nzero\n'''\n        return« x\n",
        'class A:\n    def f(self):\n        """Say it."""\n        x = \'\'\'\nzero\n',
    ),
]


@pytest.mark.parametrize(("language", "text", "expected"), PLACES)
async def test_documentation_goes_above_what_belongs_to_the_symbol(
    language: str, text: str, expected: str
) -> None:
    after = await documented(text, language)
    assert expected in after
    # Nothing but the documentation was added.
    lines = after.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    before = text.replace("«", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    added = [line for line in lines if line not in before]
    assert "\n".join(line for line in lines if line not in added) == "\n".join(before)


@pytest.mark.parametrize(
    ("generated", "expected"),
    [
        ('Say "it"', '"""Say "it"\n    """\n'),
        ("Match \\d.", 'r"""Match \\d."""\n'),
        ("End with \\", 'r"""End with \\\n    """\n'),
    ],
)
async def test_a_docstring_may_end_with_a_quote_or_a_backslash(
    generated: str, expected: str
) -> None:
    assert expected in await documented("def f():\n    return« 1\n", "python", generated)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("javascript", "class A { f() { return« 1 } }\n"),
        ("python", "class A:\n    def f(self): return« 1\n"),
        ("javascript", "function a() {} function b() { return« 1 }\n"),
    ],
)
async def test_a_symbol_that_is_not_alone_on_its_line_is_refused(language: str, text: str) -> None:
    with pytest.raises(RequestError, match="on a line of its own first"):
        await documented(text, language)


async def test_only_the_function_at_the_cursor_is_documented() -> None:
    text = "function a() {}\n/** Say. */\nfunction b() {\n  return« 1\n}\n"
    with pytest.raises(RequestError, match="b has a comment"):
        await documented(text, "javascript")

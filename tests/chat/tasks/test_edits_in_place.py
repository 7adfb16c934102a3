"""An edit changes its place only: what surrounds it stays, or the edit is refused.

Each case marks the cursor or the selection with `«` and `»`. The model's answer is what it would
write after seeing the code without its indentation.
"""

import pytest

from chat.asker import Asker
from chat.attachments import code_blocks, fence_for, readings_of_block
from chat.tasks.region import region_of
from chat.tasks.rewriting import edit
from chat.tasks.target import Target
from engine.errors import RequestError
from engine.scripted import ScriptedEngine


def marked(text: str, language: str = "python") -> Target:
    """Return the target at the marks; without `»` it is a cursor."""
    start = text.index("«")
    text = text.replace("«", "")
    end = text.index("»") if "»" in text else start
    return Target("file:///w/a", None, language, text.replace("»", ""), start, end, "Change it.")


async def edited(text: str, answer: str, language: str = "python") -> str:
    target = marked(text, language)
    proposal = await edit(target, Asker(ScriptedEngine(lambda _: answer)))
    (change,) = proposal.edits
    return target.text[: change.start] + change.text + target.text[change.end :]


KEPT = {
    "a string with text at the margin": (
        "python",
        'class A:\n    def f(self):\n        x = """\nzero\n"""\n        return« x\n\n    def g(self):\n'
        "        return 2\n",
        'def f(self):\n    x = """\nzero\n"""\n    return 1\n```\n',
        'class A:\n    def f(self):\n        x = """\nzero\n"""\n        return 1\n\n    def g(self):\n'
        "        return 2\n",
    ),
    "a string with an indentation of its own": (
        "python",
        'class A:\n    def f(self):\n        x = """\n            sql\n        """\n        return« x\n',
        'def f(self):\n    x = """\n            sql\n        """\n    return 1\n```\n',
        'class A:\n    def f(self):\n        x = """\n            sql\n        """\n        return 1\n',
    ),
    "a docstring with text at the margin": (
        "python",
        'class A:\n    def f(self):\n        """Say.\n\nzero\n        """\n        return« 1\n',
        'def f(self):\n    """Say.\n\nzero\n    """\n    return 2\n```\n',
        'class A:\n    def f(self):\n        """Say.\n\nzero\n        """\n        return 2\n',
    ),
    "a comment at the margin": (
        "python",
        "class A:\n    def f(self):\n# zero\n        return« 1\n",
        "def f(self):\n# zero\n    return 2\n```\n",
        "class A:\n    def f(self):\n# zero\n        return 2\n",
    ),
    "a template literal": (
        "javascript",
        "class A {\n  f() {\n    return« `\nzero ${a}\n`;\n  }\n}\n",
        "f() {\n  return `\nzero ${a}\n` + 1;\n}\n```\n",
        "class A {\n  f() {\n    return `\nzero ${a}\n` + 1;\n  }\n}\n",
    ),
    "a raw string": (
        "rust",
        'impl A {\n    fn f() -> &str {\n        r#"\nzero\n"#«\n    }\n}\n',
        'fn f() -> &str {\n    g(r#"\nzero\n"#)\n}\n```\n',
        'impl A {\n    fn f() -> &str {\n        g(r#"\nzero\n"#)\n    }\n}\n',
    ),
    "a here document": (
        "shellscript",
        "if x; then\n  f() {\n    cat <<EOF\nzero\nEOF\n    exit« 1\n  }\nfi\n",
        "f() {\n  cat <<EOF\nzero\nEOF\n  exit 2\n}\n```\n",
        "if x; then\n  f() {\n    cat <<EOF\nzero\nEOF\n    exit 2\n  }\nfi\n",
    ),
    "preprocessor lines and a label": (
        "cpp",
        "struct A {\n  int f() {\n#ifdef X\n    goto out;\n#endif\nout:\n    return« 1;\n  }\n};\n",
        "int f() {\n#ifdef X\n  goto out;\n#endif\n#define Y\nout:\n  return 2;\n}\n```\n",
        "struct A {\n  int f() {\n#ifdef X\n    goto out;\n#endif\n#define Y\nout:\n    return 2;\n  }\n"
        "};\n",
    ),
    "one of several functions on a line": (
        "javascript",
        "function a(){return 1} function b(){re«turn 2} function c(){return 3}\n",
        "function b(){return 9}\n```\n",
        "function a(){return 1} function b(){return 9} function c(){return 3}\n",
    ),
    "a selected function among others on its line": (
        "javascript",
        "function a(){return 1} «function b(){return 2}» function c(){return 3}\n",
        "function b() {\n  return 9\n}\n```\n",
        "function a(){return 1} function b() {\n  return 9\n} function c(){return 3}\n",
    ),
    "a selection inside a line": (
        "python",
        "class A:\n    def f(self):\n        x = «1 +» 2\n        return x\n",
        "x = 3\n```\n",
        "class A:\n    def f(self):\n        x = 3\n        return x\n",
    ),
    "a selection that ends at the beginning of a line": (
        "python",
        "def f():\n«    a = 1\n    b = 2\n»    return a\n",
        "a = b = 1\n```\n",
        "def f():\n    a = b = 1\n    return a\n",
    ),
    "a selection whose first line is the deepest": (
        "python",
        "if x:\n    if y:\n«        a = 1\n    b = 2\n»c = 3\n",
        "    a = 7\nb = 8\n```\n",
        "if x:\n    if y:\n        a = 7\n    b = 8\nc = 3\n",
    ),
    "tabs, also if the model writes spaces": (
        "go",
        "package a\n\nfunc f() int {\n\tif x {\n\t\treturn« 1\n\t}\n\treturn 2\n}\n",
        "func f() int {\n    if x {\n        return 3\n    }\n    return 2\n}\n```\n",
        "package a\n\nfunc f() int {\n\tif x {\n\t\treturn 3\n\t}\n\treturn 2\n}\n",
    ),
    "carriage returns with line feeds": (
        "python",
        'class A:\r\n    def f(self):\r\n        x = """\r\nzero\r\n"""\r\n        return« x\r\n',
        'def f(self):\n    x = """\nzero\n"""\n    return 1\n```\n',
        'class A:\r\n    def f(self):\r\n        x = """\r\nzero\r\n"""\r\n        return 1\r\n',
    ),
    "carriage returns alone": (
        "python",
        "class A:\r    def f(self):\r        return« 1\r\r    def g(self):\r        return 2\r",
        "def f(self):\n    a = 1\n    return a\n```\n",
        "class A:\r    def f(self):\r        a = 1\r        return a\r\r    def g(self):\r        return 2\r",
    ),
    "a decorator and a comment above it": (
        "python",
        "class A:\n    # About f.\n    @cache\n    async def f(self):\n        return« 1\n",
        "@cache\nasync def f(self):\n    return 2\n```\n",
        "class A:\n    # About f.\n    @cache\n    async def f(self):\n        return 2\n",
    ),
    "an attribute and a comment above it": (
        "rust",
        "/// About f.\n#[inline]\npub async fn f() -> u8 {\n    1«\n}\n",
        "#[inline]\npub async fn f() -> u8 {\n    2\n}\n```\n",
        "/// About f.\n#[inline]\npub async fn f() -> u8 {\n    2\n}\n",
    ),
    "an exported function": (
        "typescript",
        "export async function f(a: number) {\n  return« a;\n}\nexport const g = 1;\n",
        "export async function f(a: number) {\n  return 2;\n}\n```\n",
        "export async function f(a: number) {\n  return 2;\n}\nexport const g = 1;\n",
    ),
    "a method of a nested class": (
        "python",
        "class A:\n    class B:\n        def f(self):\n            return« 1\n\n    def f(self):\n        return 5\n",
        "def f(self):\n    return 2\n```\n",
        "class A:\n    class B:\n        def f(self):\n            return 2\n\n    def f(self):\n        return 5\n",
    ),
    "a getter": (
        "javascript",
        "class A {\n  get x() {\n    return« 1;\n  }\n  set x(a) {}\n}\n",
        "get x() {\n  return 2;\n}\n```\n",
        "class A {\n  get x() {\n    return 2;\n  }\n  set x(a) {}\n}\n",
    ),
    "an answer with the indentation of the file": (
        "python",
        "class A:\n    def f(self):\n        return« 1\n",
        "    def f(self):\n        return 2\n```\n",
        "class A:\n    def f(self):\n        return 2\n",
    ),
    "a comment after the last line": (
        "python",
        "class A:\n    def f(self):\n        return« 1  # one\n\n    x = 1\n",
        "def f(self):\n    return 2  # two\n```\n",
        "class A:\n    def f(self):\n        return 2  # two\n\n    x = 1\n",
    ),
    "a fence in the docstring, closed by a shorter one": (
        "python",
        "def f(a):\n    '''Say.\n\n    ```\n    f(1)\n    ```\n    '''\n    return« 1\n",
        "def f(a):\n    '''Say.\n\n    ```\n    f(1)\n    ```\n    '''\n    return 2\n```\nDone.",
        "def f(a):\n    '''Say.\n\n    ```\n    f(1)\n    ```\n    '''\n    return 2\n",
    ),
    "a fence at the margin of a docstring": (
        "python",
        "def f(a):\n    '''Say.\n\n```\nf(1)\n```\n    '''\n    return« 1\n",
        "def f(a):\n    '''Say.\n\n```\nf(1)\n```\n    '''\n    return 2\n````\nDone.",
        "def f(a):\n    '''Say.\n\n```\nf(1)\n```\n    '''\n    return 2\n",
    ),
    "a fence of tildes in the code": (
        "python",
        "def f(a):\n    '''Say.\n\n~~~\nf(1)\n~~~\n    '''\n    return« 1\n",
        "def f(a):\n    '''Say.\n\n~~~\nf(1)\n~~~\n    '''\n    return 2\n```\n",
        "def f(a):\n    '''Say.\n\n~~~\nf(1)\n~~~\n    '''\n    return 2\n",
    ),
    "a line separator in a string": (
        "python",
        "class A:\n    def f(self):\n        return« 'a\u2028b\x0c'\n",
        "def f(self):\n    return 'a\u2028b\x0c' + 'c'\n```\n",
        "class A:\n    def f(self):\n        return 'a\u2028b\x0c' + 'c'\n",
    ),
    "the comma after a method": (
        "javascript",
        "const o = {\n  f() {\n    return« 1;\n  },\n  g() {},\n};\n",
        "f() {\n  return 2;\n},\n```\n",
        "const o = {\n  f() {\n    return 2;\n  },\n  g() {},\n};\n",
    ),
    "the semicolon after a field": (
        "typescript",
        "class A {\n  @Input()\n  f = () => {\n    return« 1;\n  };\n  g = 2;\n}\n",
        "@Input()\nf = () => {\n  return 3;\n};\n```\n",
        "class A {\n  @Input()\n  f = () => {\n    return 3;\n  };\n  g = 2;\n}\n",
    ),
    "the semicolon after a class": (
        "cpp",
        "class A {\n  int x«;\n};\nint y;\n",
        "class A {\n  int x, z;\n};\n```\n",
        "class A {\n  int x, z;\n};\nint y;\n",
    ),
    "one package clause (Go)": (
        "go",
        "package a\n\nfunc F() int {\n\treturn« 1\n}\n",
        "package a\n\nfunc F() int {\n\treturn 2\n}\n```\n",
        "package a\n\nfunc F() int {\n\treturn 2\n}\n",
    ),
    "one package clause (Java)": (
        "java",
        "package a.b;\n\nclass A {\n  int x« = 1;\n}\n",
        "package a.b;\n\nclass A {\n  int x = 2;\n}\n```\n",
        "package a.b;\n\nclass A {\n  int x = 2;\n}\n",
    ),
    "one opening tag (PHP)": (
        "php",
        "<?php\nfunction f() {\n  return« 1;\n}\n",
        "<?php\n\nfunction f() {\n  return 2;\n}\n```\n",
        "<?php\nfunction f() {\n  return 2;\n}\n",
    ),
    "a Go type": (
        "go",
        "package a\n\ntype A struct {\n\tx« int\n}\n",
        "type A struct {\n    x int\n    y int\n}\n```\n",
        "package a\n\ntype A struct {\n\tx int\n\ty int\n}\n",
    ),
    "characters of several code points": (
        "python",
        "# שלום e\u0301 🎉\ufeff\u200b\nclass A:\n    def f(self):\n        return« '🎉'\n",
        "def f(self):\n    return '👩\u200d💻'\n```\n",
        "# שלום e\u0301 🎉\ufeff\u200b\nclass A:\n    def f(self):\n        return '👩\u200d💻'\n",
    ),
}


@pytest.mark.parametrize("case", KEPT)
async def test_an_edit_keeps(case: str) -> None:
    language, text, answer, expected = KEPT[case]
    assert await edited(text, answer, language) == expected


REFUSED = {
    "that ends its class": (
        "ruby",
        "class A\n  def f\n    1«\n  end\n\n  def g\n    2\n  end\nend\n",
        "def f\n  2\nend\nend\nclass B\n```\n",
    ),
    "that closes its class": (
        "javascript",
        "class A {\n  f() {\n    return« 1;\n  }\n  g() {}\n}\n",
        "f() {\n  return 2;\n}\n}\nclass B {\n```\n",
    ),
    "that takes the rest of the file into a string": (
        "python",
        "def f():\n    return« 1\n\ndef g():\n    '''Text'''\n",
        "def f():\n    return '''\n```\n",
    ),
    "that renames the function": (
        "python",
        "def f():\n    return« 1\n",
        "def h():\n    return 2\n```\n",
    ),
    "that leaves an empty class": (
        "python",
        "class A:\n«    x = 1\n»\ny = 2\n",
        "# nothing\n```\n",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_an_edit_is_refused(case: str) -> None:
    language, text, answer = REFUSED[case]
    with pytest.raises(RequestError, match=r"is not used|changed nothing"):
        await edited(text, answer, language)


async def test_the_fence_of_the_prompt_is_longer_than_those_in_the_code() -> None:
    target = marked("def f(a):\n    '''\n    `````\n    '''\n    return« 1\n")
    engine = ScriptedEngine(lambda _: "def f(a):\n    return 2\n``````\n")
    await edit(target, Asker(engine))
    (request,) = engine.requests
    prompt = engine.model_tokenizer.decode(request.prompt)
    assert prompt.count("\n``````python\n") + prompt.count("``````python\ndef") >= 1
    assert "\n``````" in request.stop_text


def test_a_block_ends_at_the_right_fence() -> None:
    assert fence_for("a") == "```"
    assert fence_for("a ```` b") == "`````"
    assert code_blocks("```py\n'''\n    ```\n    x\n    ```\n'''\n```\nend") == [
        "'''\n    ```\n    x\n    ```\n'''"
    ]
    assert code_blocks("~~~\n```\na\n```\n~~~") == ["```\na\n```"]
    assert code_blocks("````\n```\na\n```\n````") == ["```\na\n```"]
    assert code_blocks("1. List:\n   ```\n   a\n   ```\nend") == ["   a"]
    assert code_blocks("```\na\n`````\nend") == ["a"]
    readings = readings_of_block("```python\na\n```\nb\n````", "````")
    assert readings == ["a\n```\nb", "a", "a\n```\nb\n````"]


def test_a_region_without_code_is_its_line() -> None:
    target = marked("a\n«\nb\n")
    assert region_of(target).text == ""

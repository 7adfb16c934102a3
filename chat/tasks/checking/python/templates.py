"""Tests of one call, in the idiom of pytest or unittest, and their names.

They expect `...`, which nothing returns; `python.observing` puts in what was observed.
"""

from __future__ import annotations

from chat.tasks.checking.python.calls import Call
from chat.tasks.checking.python.samples import SampleFile
from chat.tasks.checking.python.value_types import Expression
from chat.tasks.dialects.base import indent


def words_of(call: Call) -> str:
    """Return the arguments of a call as a part of a name."""
    words = [_word(argument.value) for _, argument in call.arguments]
    return "_and_".join(words) or "nothing"


def _word(value: object) -> str:
    if isinstance(value, SampleFile):
        return "a_file"
    if isinstance(value, Expression):
        called = repr(value).partition("(")[0]
        return "a_function" if called.startswith("lambda") else called.replace(".", "_").lower()
    if isinstance(value, str | list | tuple | dict | set | bytes):
        kind = {"str": "text", "bytes": "data"}.get(type(value).__name__, type(value).__name__)
        size = {0: "empty_", 1: "short_" if isinstance(value, str) else "single_"}
        return f"{size.get(len(value), '')}{kind}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        words = repr(abs(value)).replace(".", "_point_").replace("-", "_").replace("+", "_")
        return f"minus_{words}" if value < 0 else words
    return repr(value).lower()


def written_test(name: str, call: Call, framework: str, *, prints: bool) -> str:
    """Return a test of a call. `prints` says whether it looks at what the call prints."""
    values = [argument.value for _, argument in call.arguments]
    file = next((value for value in values if isinstance(value, SampleFile)), None)
    fakes = "".join(f"{fake} = Mock()\n" for fake in call.fakes)
    if framework == "pytest":
        fixtures = [*(["tmp_path"] if file else []), *(["capsys"] if prints else [])]
        written = "" if file is None else f'path = tmp_path / "input.txt"\n{file.writing}\n'
        body = written + fakes + _pytest_body(call, prints=prints)
        return f"def {name}({', '.join(fixtures)}):\n{indent(body)}"
    body = fakes + _unittest_body(call, prints=prints)
    if file is not None:
        inner = f'path = pathlib.Path(folder, "input.txt")\n{file.writing}\n{body}'
        body = f"with tempfile.TemporaryDirectory() as folder:\n{indent(inner)}"
    return f"def {name}(self):\n{indent(body)}"


def _pytest_body(call: Call, *, prints: bool) -> str:
    if prints:
        return f"{call.text}\nassert capsys.readouterr().out == ..."
    calls = "".join(f"\nassert {name}.mock_calls == ..." for name in call.fakes)
    return (call.text if call.is_statement else f"assert {call.text} == ...") + calls


def _unittest_body(call: Call, *, prints: bool) -> str:
    if prints:
        body = "output = io.StringIO()\nwith contextlib.redirect_stdout(output):\n"
        return body + f"    {call.text}\nself.assertEqual(output.getvalue(), ...)"
    calls = "".join(f"\nself.assertEqual({name}.mock_calls, ...)" for name in call.fakes)
    return (call.text if call.is_statement else f"self.assertEqual({call.text}, ...)") + calls

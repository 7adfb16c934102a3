"""The diagnostics that are kept of a client's documents."""

from fim.snapshot import Problem
from lsp_server.session.diagnostics import Diagnostics


def test_a_document_may_be_named_with_other_escapes() -> None:
    diagnostics = Diagnostics()
    diagnostics.set("file:///a%5Bb%5D.py", [Problem(0, "unused")])
    assert diagnostics.of("file:///a[b].py") == (Problem(0, "unused"),)
    assert diagnostics.of("file:///b.py") == ()
    diagnostics.forget("file:///a[b].py")
    assert diagnostics.of("file:///a%5Bb%5D.py") == ()


def test_new_ones_replace_those_before() -> None:
    diagnostics = Diagnostics()
    diagnostics.set("file:///a.py", [Problem(0, "unused"), Problem(1, "undefined")])
    diagnostics.set("file:///a.py", [Problem(2, "unused")])
    assert diagnostics.of("file:///a.py") == (Problem(2, "unused"),)
    diagnostics.set("file:///a.py", [])
    assert diagnostics.of("file:///a.py") == ()


def test_what_is_kept_is_limited() -> None:
    diagnostics = Diagnostics()
    diagnostics.set("file:///a.py", [Problem(number, "x" * 5000) for number in range(3000)])
    kept = diagnostics.of("file:///a.py")
    assert [each.line for each in kept] == list(range(1000))
    assert {len(each.message) for each in kept} == {1000}

"""Equivalent URIs name the same document, and only URIs of files name a file."""

import os
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server.session.uris import canonical, file_of, folder_of, name_of, uri_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the paths are those of POSIX")

NEOVIM_KEEPS = "/-._~!$&'()*+,;=:@"
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))


@pytest.mark.parametrize(
    "spellings",
    [
        [
            "file:///home/J%C3%B6rg/a%20b.py",
            "file:///home/J\xf6rg/a b.py",
            "FILE:///home/J%c3%b6rg/a b.py",
        ],
        [
            "file:///w/%5Bslug%5D/%2Bpage.py",
            "file:///w/%5Bslug%5D/+page.py",
            "file:///w/[slug]/+page.py",
        ],
        ["file:///c%3A/Users/me/a.py", "file:///c:/Users/me/a.py", "file:///C:/Users/me/a.py"],
        ["file:///w/a.py", "file://localhost/w/a.py", "file:/w/a.py"],
        ["file:///w/%28shop%29/it%27s.py", "file:///w/(shop)/it's.py"],
        ["file:///w/C%23/a.cs", "file:///w/C#/a.cs"],
        ["file:///w/a%3Fb.py", "file:///w/a?b.py"],
        ["file:///w/a%3Bb.py", "file:///w/a;b.py"],
        ["vscode-notebook-cell:/w/a.ipynb#W1sZ%3D%3D", "vscode-notebook-cell:/w/a.ipynb#W1sZ=="],
        ["vscode-remote://ssh-remote%2Bbox/w/a.py", "vscode-remote://ssh-remote+box/w/a.py"],
        ["untitled:Untitled-1", "untitled:Untitled%2D1"],
        [
            "jdt://contents/rt.jar/java.util/List.class?%3Dx%2Fy",
            "jdt://contents/rt.jar/java.util/List.class?=x/y",
        ],
    ],
    ids=lambda spellings: spellings[0],
)
def test_spellings_of_one_document_are_equal(spellings: list[str]) -> None:
    assert len({canonical(uri) for uri in spellings}) == 1
    assert len({file_of(uri) for uri in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("file:///w/a%23b.py", "file:///w/a.py#b"),
        ("file:///w/100%25.py", "file:///w/100%2525.py"),
        ("file:///w/a.py", "untitled:/w/a.py"),
        ("vscode-vfs://github/me/a.py", "vscode-vfs://gitlab/me/a.py"),
        ("vscode-notebook-cell:/w/a.ipynb#W1", "vscode-notebook-cell:/w/a.ipynb#W2"),
        ("file:///w/A.py", "file:///w/a.py"),
    ],
)
def test_other_documents_are_different(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    "uri",
    [
        "file://",
        "file:///",
        "file:///w/",
        "file:///w/a.ipynb#cell",
        "file:///c%3A/a.py",
        "file://server/share/a.py",
        "file:relative.py",
        "untitled:/w/a.py",
        "vscode-vfs://github/me/a.py",
        "vscode-notebook-cell:/w/a.ipynb#W1",
        "inmemory://model/1",
        "/w/a.py",
        "",
    ],
)
def test_what_is_no_file_of_this_machine_has_no_path(uri: str) -> None:
    assert file_of(uri) is None


def test_a_folder_may_be_the_root_of_the_disk() -> None:
    assert folder_of("file:///") == Path("/")
    assert folder_of("file:///w/a%20b/") == Path("/w/a b")
    assert folder_of("file:///c%3A/Users") is None
    assert folder_of("vscode-vfs://github/me") is None
    assert folder_of("") is None


def test_a_name_that_is_not_utf_8_is_the_same_file() -> None:
    path = Path(os.fsdecode(b"/w/caf\xe9.py"))
    assert uri_of(path) == "file:///w/caf%E9.py"
    assert file_of("file:///w/caf%E9.py") == path


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("file:///w/a%20b.py", "a b.py"),
        ("file:///w/folder/", "folder"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("file://", "this document"),
        ("", "this document"),
    ],
)
def test_names_in_messages(uri: str, name: str) -> None:
    assert name_of(uri) == name


@given(st.lists(NAMES, min_size=1, max_size=4))
def test_each_path_survives_each_spelling(names: list[str]) -> None:
    path = "/" + "/".join(names)
    for safe in (
        "/",
        NEOVIM_KEEPS,
        "/" + string.punctuation.translate({35: None, 37: None, 63: None}),
    ):
        uri = "file://" + quote(path, safe=safe)
        assert file_of(uri) == Path(path)
        assert canonical(uri) == uri_of(Path(path)) == canonical(canonical(uri))


@given(st.text(max_size=30))
def test_a_canonical_uri_is_canonical(uri: str) -> None:
    try:
        first = canonical(uri)
    except ValueError:
        return
    assert canonical(first) == first

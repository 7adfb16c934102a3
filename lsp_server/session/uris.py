"""URIs of documents: which of them name the same document, and which name a file.

Clients write the same URI differently. VS Code escapes all but letters, digits and `-._~/`
(`c%3A`, `%5Bid%5D`); Neovim leaves ``!$&'()*+,;=:@`` as they are; LSP says only that clients and
servers should escape consistently. So URIs are compared by their decoded parts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

_DRIVE = re.compile(r"/[A-Za-z]:(?=/|$)")
_LOCAL_HOSTS = ("", "localhost")

_IN_PATH = "/"
_IN_AUTHORITY = "@:[]"
_IN_FRAGMENT = "/="


@dataclass(frozen=True, slots=True)
class Uri:
    """The decoded parts of a URI (RFC 3986, section 3). Equal parts name the same document."""

    scheme: str
    authority: str
    path: str
    query: str
    fragment: str

    @property
    def name(self) -> str:
        """The last part of the path, for messages; "this document" if there is none."""
        return self.path.rstrip("/").rpartition("/")[2] or "this document"

    @property
    def canonical(self) -> str:
        """The same URI in the one spelling that all equivalent URIs share."""
        scheme = f"{self.scheme}:" if self.scheme else ""
        authority = f"//{_encoded(self.authority, _IN_AUTHORITY)}" if self._has_authority else ""
        query = f"?{_encoded(self.query, _IN_FRAGMENT)}" if self.query else ""
        fragment = f"#{_encoded(self.fragment, _IN_FRAGMENT)}" if self.fragment else ""
        return f"{scheme}{authority}{_encoded(self.path, _IN_PATH)}{query}{fragment}"

    @property
    def file(self) -> Path | None:
        """The file of this machine that the URI names, None for any other URI.

        A document without a name (`file://`, Neovim's unnamed buffer) is no file, nor is a part of
        one (`file:///a.ipynb#cell`), nor a path of Windows on another system.
        """
        if self.scheme != "file" or self.fragment or self.path.endswith("/") or not self.path:
            return None
        return self._local_path

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that the URI names, None for any other URI."""
        return self._local_path if self.scheme == "file" and self.path else None

    @property
    def _has_authority(self) -> bool:
        return bool(self.authority) or self.scheme == "file"

    @property
    def _local_path(self) -> Path | None:
        has_drive = _DRIVE.match(self.path) is not None
        if os.name == "nt":
            share = f"//{self.authority}" if self.authority else ""
            return Path(share + (self.path[1:] if has_drive else self.path))
        if has_drive or self.authority or not self.path.startswith("/"):
            return None
        return Path(self.path)


@lru_cache(1024)
def parse_uri(uri: str) -> Uri:
    """Return the parts of a URI; raises ValueError if it is none.

    A drive letter and the scheme are in lower case; `localhost` is the same as no host. Some
    clients leave `?` and `#` in the path of a file as they are, for example in a folder `C#`.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and (parts.query or "/" in parts.fragment):
        parts = urlsplit(uri.replace("?", "%3F").replace("#", "%23"))
    scheme, path, authority = parts.scheme, _decoded(parts.path), _decoded(parts.netloc)
    if scheme == "file":
        authority = "" if authority.lower() in _LOCAL_HOSTS else authority
        if _DRIVE.match(path):
            path = path[0] + path[1].lower() + path[2:]
    return Uri(scheme, authority, path, _decoded(parts.query), _decoded(parts.fragment))


def canonical(uri: str) -> str:
    """Return the spelling of a URI that is equal for all URIs of the same document."""
    return parse_uri(uri).canonical


def file_of(uri: str) -> Path | None:
    """Return the file of this machine that a URI names, None for any other URI."""
    return parse_uri(uri).file


def folder_of(uri: str) -> Path | None:
    """Return the folder of this machine that a URI names, None for any other URI."""
    return parse_uri(uri).folder


def name_of(uri: str) -> str:
    """Return a document's name for messages to the user."""
    return parse_uri(uri).name


def uri_of(path: Path) -> str:
    """Return the `file:` URI of an absolute path."""
    return parse_uri(path.absolute().as_uri()).canonical


def _decoded(text: str) -> str:
    """Return a part without escapes; bytes that are not UTF-8 stay as Python's paths have them."""
    return unquote(text, errors="surrogateescape")


def _encoded(text: str, safe: str) -> str:
    return quote(text, safe, errors="surrogateescape")

"""`starcoder/diagnostics`: what other language servers and tools report for an open document."""

from __future__ import annotations

from fim.snapshot import Problem
from lsp_server.session.protocol import Params, RangeParams
from lsp_server.session.server import StarcoderServer


class DiagnosticParams(Params):
    """A diagnostic; members that LSP defines in addition are ignored."""

    range: RangeParams
    message: str


class DiagnosticsParams(Params):
    """All diagnostics of a document."""

    uri: str
    diagnostics: tuple[DiagnosticParams, ...]


async def set_diagnostics(server: StarcoderServer, params: DiagnosticsParams) -> None:
    """Replace the diagnostics of an open document; those of other documents are ignored."""
    problems = [Problem(each.range.start.line, each.message) for each in params.diagnostics]
    if server.documents.find_open(params.uri) is not None:
        server.completions.diagnostics.set(params.uri, problems)

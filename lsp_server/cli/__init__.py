"""The command `starcoder-lsp`: the language server itself, and the other commands."""

from lsp_server.cli.app import main

__all__ = ["main"]

"""The command `starcoder-lsp`: the language server itself, and commands around it."""

from lsp_server.cli.app import main

__all__ = ["main"]

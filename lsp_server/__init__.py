"""The language server: LSP methods, settings and the command line."""

__version__ = "0.1.0"

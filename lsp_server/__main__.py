"""Lets `python -m lsp_server` run the command `starcoder-lsp`."""

from lsp_server.cli import main

main()

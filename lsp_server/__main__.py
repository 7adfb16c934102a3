"""`python -m lsp_server` is `starcoder-lsp`."""

from lsp_server.cli import main

main()

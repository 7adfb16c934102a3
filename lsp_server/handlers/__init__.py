"""One module per group of LSP methods. A handler unpacks parameters, makes one call, packs."""

"""One module per group of LSP methods: unpack, make one call, pack."""

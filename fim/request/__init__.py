"""One completion request: sent, shared, cached, prefetched."""

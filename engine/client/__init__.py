"""Clients of an engine in another process: found, started, or reached by URL. No torch."""

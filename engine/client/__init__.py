"""Engines that are elsewhere: found, started on demand, or reached by URL. Imports no torch."""

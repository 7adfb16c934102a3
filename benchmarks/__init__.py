"""Benchmarks against peers and lower bounds, one command each: `python -m benchmarks.NAME`."""

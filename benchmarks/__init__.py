"""Speed beside a peer or the floor, one command each: `python -m benchmarks.NAME`."""

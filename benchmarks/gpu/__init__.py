"""The GPU kit: what to run on a lent GPU, in the order of its value."""

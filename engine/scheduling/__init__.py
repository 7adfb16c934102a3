"""Many requests, one step at a time."""

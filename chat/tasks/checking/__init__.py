"""Generated tests that were run: expected values, mutations that they detect, lines they cover."""

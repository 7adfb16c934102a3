"""Where and how code can be mutated; `syntax.mutations` chooses from it."""

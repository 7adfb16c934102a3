"""Source code as trees, by tree-sitter: what several parts want to know of it."""

"""Syntax trees of source code, parsed by tree-sitter."""

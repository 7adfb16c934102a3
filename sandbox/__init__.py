"""Runs programs that nobody has read: an empty root, namespaces, a filter, limits."""

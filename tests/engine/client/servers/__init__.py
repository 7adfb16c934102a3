"""Servers of other projects, as their real programs answered."""

"""Measures suggestions in projects that the demo model never saw, between two releases."""

"""Tests of Python: pytest and unittest."""

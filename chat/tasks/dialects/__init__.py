"""Dialects: how each test framework writes tests."""

"""Measures the published figures about speed, and writes their tables into the documents."""

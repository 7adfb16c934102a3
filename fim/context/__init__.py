"""Excerpts of other files for the prompt: definitions of imported names, and similar code."""

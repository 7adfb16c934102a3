"""Evaluation of completions: filling holes in real files, and simulated typing."""

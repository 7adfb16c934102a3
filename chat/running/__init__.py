"""Runs the code of an answer in the sandbox, and collects its output and its figures."""

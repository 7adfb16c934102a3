"""Postprocessing: turns the model's output into the suggestions that are shown."""

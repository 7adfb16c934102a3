"""Measurements with the weights of a real model, SmolLM2-135M-Instruct."""

"""Code completion with fill-in-the-middle: prompts, requests, and suggestions."""

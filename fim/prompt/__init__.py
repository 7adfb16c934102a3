"""Prompts: turns a snapshot into token ids."""

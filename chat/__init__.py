"""Dialogues: messages to prompt ids, in the format that the model was trained on."""

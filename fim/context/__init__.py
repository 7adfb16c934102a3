"""What the model is shown of other files: definitions of imported names, and what is alike."""

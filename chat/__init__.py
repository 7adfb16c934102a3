"""Chat with the model, and tasks on code that are asked in chat messages."""

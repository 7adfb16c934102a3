"""One request: from logits to token ids to text."""

"""StarChat's recipe: a StarCoder that learns dialogues (bigcode-project/starcoder, chat)."""

"""StarChat's recipe: fine-tune a StarCoder on dialogues (bigcode-project/starcoder, chat)."""

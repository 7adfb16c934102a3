"""StarChat's recipe: fine-tune a model on dialogues (bigcode-project/starcoder, chat)."""

"""Fine-tune a model on a user's repository, in the form in which completion uses the model."""

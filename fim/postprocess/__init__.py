"""From the model's answer to the suggestion that is shown."""

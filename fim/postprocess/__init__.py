"""From the output of the model to the suggestions that are shown."""

"""From the name of a model to a network in memory."""

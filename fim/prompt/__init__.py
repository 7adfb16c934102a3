"""From a snapshot to the token ids of a prompt."""

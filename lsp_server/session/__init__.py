"""What the server keeps for one editor window."""

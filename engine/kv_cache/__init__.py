"""Keys and values of earlier tokens, and where they are stored."""

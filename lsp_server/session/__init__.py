"""A session: everything that the server keeps for one editor connection."""

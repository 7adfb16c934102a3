"""The users of a server: their keys, their limits, and what they have used."""

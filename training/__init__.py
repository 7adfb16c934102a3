"""The recipe that makes the embedded demo model: StarCoder's, at small scale."""

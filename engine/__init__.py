"""Holds the model: loading, decoding, the HTTP server and its client. Knows nothing of editors."""

"""The engine's HTTP server: OpenAI's API over a Unix socket or TCP."""

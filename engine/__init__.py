"""The engine, which holds the model: loading, decoding, the HTTP server and its clients."""

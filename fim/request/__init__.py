"""Requests to the model: sending, joining, caching and prefetching."""

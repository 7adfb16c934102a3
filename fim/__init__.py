"""Fill-in-the-middle: what to ask the engine, and what to show of its answer."""

"""Long-running work: callers' requests about it, and the worker that does it."""

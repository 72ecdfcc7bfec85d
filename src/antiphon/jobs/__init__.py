"""Long-running work: what callers ask about it, and the worker that does it."""

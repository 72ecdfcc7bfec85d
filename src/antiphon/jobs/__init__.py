"""Long-running work: what callers ask about it, the worker that does it, and what tells others that it is done."""

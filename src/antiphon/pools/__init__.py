"""The backends that serve one model: the queue in front of them, the choice of a backend, and their health."""

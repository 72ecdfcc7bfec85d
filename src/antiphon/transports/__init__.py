"""The transports of surfaces. They know sockets and sessions, but no vendor."""

"""What carries a surface. Transports know sockets and sessions, and no vendor."""

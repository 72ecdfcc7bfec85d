"""What operators see: metrics, the log of calls, how long the loop is held."""

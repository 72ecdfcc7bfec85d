"""What operators see: metrics, the log of calls, the holds of the event loop."""

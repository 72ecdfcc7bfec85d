"""OpenAI's Realtime API, in the shapes of its general availability, over WebSocket."""

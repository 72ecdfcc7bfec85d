"""Audio: callers' samples and containers become 16 kHz mono int16, and speech is encoded."""

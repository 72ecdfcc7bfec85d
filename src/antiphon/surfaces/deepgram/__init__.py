"""Deepgram's APIs: listen, speak, Flux both ways, tokens and models."""

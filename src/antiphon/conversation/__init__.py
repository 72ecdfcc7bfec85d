"""Spoken conversations: recognition, a language model and a voice, which overlap."""

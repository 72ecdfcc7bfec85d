"""Engines: speech recognition, voice activity, voices, language models, embeddings. Heavy imports happen here,
lazily.
"""

"""Antiphon: a self-hosted, production inference API for speech and language."""

__version__ = "0.1.0"

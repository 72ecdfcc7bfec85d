"""Whisper, in a process of its own."""

from antiphon.engines.whisper.recogniser import Whisper, WhisperSettings

__all__ = ["Whisper", "WhisperSettings"]

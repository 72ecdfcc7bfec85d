"""How soon a scheduler of speech wants things done."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """How soon things are due, in milliseconds after the audio they are about arrived."""

    first_ms: int = 280
    retry_ms: int = 150
    final_ms: int = 560
    refresh_ms: int = 900
    recording_ms: int = 10_000

"""How soon results of speech recognition are due."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """How soon results are due, in milliseconds after their audio arrived."""

    first_ms: int = 280
    retry_ms: int = 150
    final_ms: int = 560
    refresh_ms: int = 900
    recording_ms: int = 10_000

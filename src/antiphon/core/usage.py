"""Quantities: what the server measured, as integers with their unit."""

from dataclasses import dataclass
from enum import StrEnum


class Dimension(StrEnum):
    """What is counted. The unit is part of the name."""

    STT_AUDIO_MS = "stt.audio_ms"


@dataclass(frozen=True, slots=True)
class Quantity:
    dimension: Dimension
    amount: int

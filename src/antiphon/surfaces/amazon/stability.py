"""How long partial results must agree on a word before it is said to stay."""

from enum import StrEnum


class Stability(StrEnum):
    """How sure it must be. A high one holds fewer words back."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


# How many partial results in a row must agree on a word, and how many at the end never count: their sound may go on.
AGREEMENT = {Stability.HIGH: (2, 1), Stability.MEDIUM: (3, 2), Stability.LOW: (4, 3)}

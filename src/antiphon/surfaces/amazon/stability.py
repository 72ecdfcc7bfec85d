"""The stabilisation of partial results: for how long they must agree on a word before it is marked as stable."""

from enum import StrEnum


class Stability(StrEnum):
    """The requested level of stability. A high level holds back fewer words."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


# How many partial results in a row must agree on a word, and how many words at the end never count: they may continue.
AGREEMENT = {Stability.HIGH: (2, 1), Stability.MEDIUM: (3, 2), Stability.LOW: (4, 3)}

"""When a speaker's turn ends on a transcription stream: `TurnRules` in terms of `end_of_turn.py`.

The words determine how much silence each eagerness of a conversation waits; each stands for a confidence that the turn
is over, and in between the confidence grows linearly with the silence. So it is 0 at the end of speech, 0.7 after the
silence of medium eagerness, and never quite 1.
"""

from itertools import pairwise

from antiphon.calls.end_of_turn import silence_after_ms, soonest_ms
from antiphon.core.conversation.spec import Eagerness
from antiphon.core.specs import TurnRules
from antiphon.core.speech import Tuning

CONFIDENCES = {0.5: Eagerness.HIGH, 0.7: Eagerness.MEDIUM, 0.9: Eagerness.LOW}
SUREST = 0.99


def silences_ms(text: str, turns: TurnRules) -> tuple[int, int | None]:
    """Return how much silence after `text` ends the turn, and after how much an early event is sent; `None` for no
    early event.
    """
    ends = turns.timeout_ms
    if turns.confidence <= SUREST:
        ends = min(ends, max(turns.least_ms, _silence_ms(_points(text), turns.confidence)))
    if turns.early_confidence is None:
        return ends, None
    early = _silence_ms(_points(text), turns.early_confidence)
    return ends, early if early <= ends else None


def sure_after(text: str, silence_ms: int) -> float:
    """Return the confidence (0..1) that the turn is over after so much silence."""
    points = _points(text)
    for (low, from_ms), (high, to_ms) in pairwise(points):
        if silence_ms < to_ms:
            return low + (high - low) * (silence_ms - from_ms) / (to_ms - from_ms)
    (low, from_ms), (high, to_ms) = points[-2:]
    return min(SUREST, high + (high - low) * (silence_ms - to_ms) / (to_ms - from_ms))


def tuning(turns: TurnRules) -> Tuning:
    """Return the stream's tuning: `timeout_ms` ends a turn if the words are unknown."""
    soonest = [(0.0, 0), *((sure, soonest_ms(eagerness)) for sure, eagerness in CONFIDENCES.items())]
    least_ms = turns.timeout_ms
    if turns.confidence <= SUREST:
        least_ms = min(least_ms, max(turns.least_ms, _silence_ms(soonest, turns.confidence)))
    return Tuning(turns.timeout_ms, least_ms, turns.voice_threshold)


def _points(text: str) -> list[tuple[float, int]]:
    """Return pairs of a confidence and the silence that it takes, both growing."""
    return [(0.0, 0), *((sure, silence_after_ms(text, eagerness)) for sure, eagerness in CONFIDENCES.items())]


def _silence_ms(points: list[tuple[float, int]], confidence: float) -> int:
    above = next((place for place, (sure, _) in enumerate(points) if confidence <= sure), len(points) - 1)
    (low, from_ms), (high, to_ms) = points[max(above, 1) - 1 : max(above, 1) + 1]
    return from_ms + round((to_ms - from_ms) * (confidence - low) / (high - low))

"""When the turn of a speaker on a transcription stream ends: `TurnRules` in terms of `patience.py`.

What was said tells how much silence each eagerness of a conversation waits; each stands for a confidence that nothing
more comes, and between them it grows with the silence, evenly. So it is 0 with the end of speech, 0.7 after what an
agent of medium eagerness would wait, and never quite 1.
"""

from itertools import pairwise

from antiphon.calls.patience import patience_ms, soonest_ms
from antiphon.core.conversation.spec import Eagerness
from antiphon.core.specs import TurnRules
from antiphon.core.speech import Tuning

CONFIDENCES = {0.5: Eagerness.HIGH, 0.7: Eagerness.MEDIUM, 0.9: Eagerness.LOW}
SUREST = 0.99


def silences_ms(text: str, turns: TurnRules) -> tuple[int, int | None]:
    """How much silence after `text` ends the turn, and how much is told before; `None` where none is."""
    ends = turns.timeout_ms
    if turns.confidence <= SUREST:
        ends = min(ends, max(turns.least_ms, _silence_ms(_points(text), turns.confidence)))
    if turns.early_confidence is None:
        return ends, None
    early = _silence_ms(_points(text), turns.early_confidence)
    return ends, early if early <= ends else None


def sure_after(text: str, silence_ms: int) -> float:
    """How sure it is, after so much silence, that nothing more comes."""
    points = _points(text)
    for (low, from_ms), (high, to_ms) in pairwise(points):
        if silence_ms < to_ms:
            return low + (high - low) * (silence_ms - from_ms) / (to_ms - from_ms)
    (low, from_ms), (high, to_ms) = points[-2:]
    return min(SUREST, high + (high - low) * (silence_ms - to_ms) / (to_ms - from_ms))


def tuning(turns: TurnRules) -> Tuning:
    """How the stream listens: `timeout_ms` ends a turn where nothing is known of what was said."""
    soonest = [(0.0, 0), *((sure, soonest_ms(eagerness)) for sure, eagerness in CONFIDENCES.items())]
    least_ms = turns.timeout_ms
    if turns.confidence <= SUREST:
        least_ms = min(least_ms, max(turns.least_ms, _silence_ms(soonest, turns.confidence)))
    return Tuning(turns.timeout_ms, least_ms, turns.voice_threshold)


def _points(text: str) -> list[tuple[float, int]]:
    """Pairs of a confidence and the silence that it takes, both growing."""
    return [(0.0, 0), *((sure, patience_ms(text, eagerness)) for sure, eagerness in CONFIDENCES.items())]


def _silence_ms(points: list[tuple[float, int]], confidence: float) -> int:
    above = next((place for place, (sure, _) in enumerate(points) if confidence <= sure), len(points) - 1)
    (low, from_ms), (high, to_ms) = points[max(above, 1) - 1 : max(above, 1) + 1]
    return from_ms + round((to_ms - from_ms) * (confidence - low) / (high - low))

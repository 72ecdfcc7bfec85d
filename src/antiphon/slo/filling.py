"""How much work that can wait may run beside interactive calls: pure.

Items of jobs use what interactive work leaves. They begin only while there is room beyond a reserve and no interactive
call waits: few of them beside others, more if there are none. And they give way: running items are stopped, uncharged,
and begun again later if a call needs their place or live results are late.
"""

from dataclasses import dataclass
from math import ceil

from antiphon.core.units import NS_PER_S

RESERVE = 0.125  # of the places of a model, and at least one where there are several
BESIDE = 4  # one of so many runs beside interactive work
QUIET_NS = NS_PER_S  # without interactive work, until it counts as absent
PRESSED_NS = 5 * NS_PER_S  # after a refusal
MOST_LATE = 0.05  # of the recent utterances
MOST_SLOW = 0.25  # of the recent generations


@dataclass(frozen=True, slots=True)
class Traffic:
    """The present load of one model: how many `places` it has and how many are `taken`, also by items; how many
    interactive calls wait, and whether one was refused within `PRESSED_NS`.
    """

    places: int
    taken: int
    waiting: int = 0
    pressed: bool = False


@dataclass(frozen=True, slots=True)
class Interactive:
    """Interactive work of all models: how many calls are open, and which shares of recent utterances and generations
    missed an objective.
    """

    open: int = 0
    late: float = 0.0
    slow: float = 0.0


def most_items(traffic: Traffic, items: int, at_once: int, interactive: Interactive, quiet: bool) -> int:
    """Return how many items may run at a model where `items` run now, at most `at_once`. `quiet` means that no
    interactive call was open for a while. If the result is below `items`, some give way.
    """
    if traffic.waiting or traffic.pressed or interactive.late > MOST_LATE or interactive.slow > MOST_SLOW:
        return 0
    reserve = max(1, ceil(traffic.places * RESERVE)) if traffic.places > 1 else 0
    left = traffic.places - reserve - max(0, traffic.taken - items)
    return max(0, min(left, at_once if quiet else max(1, at_once // BESIDE)))

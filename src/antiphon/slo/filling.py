"""How much work that can wait may run beside what callers wait for: pure.

Items of jobs fill what interactive work leaves. They are begun only while there is room beyond a reserve and nobody
interactive waits, few of them beside others and more where there are none; and they give way: those that run are
stopped, uncharged, and begun again later where somebody waits for their place or what callers hear comes late.
"""

from dataclasses import dataclass
from math import ceil

from antiphon.core.units import NS_PER_S

RESERVE = 0.125  # of the places of a model, and at least one where there are several
BESIDE = 4  # one of so many runs beside interactive work
QUIET_NS = NS_PER_S  # without interactive work, until there is none
PRESSED_NS = 5 * NS_PER_S  # after somebody was refused
MOST_LATE = 0.05  # of the recent utterances
MOST_SLOW = 0.25  # of the recent generations


@dataclass(frozen=True, slots=True)
class Traffic:
    """What happens at one model: how many `places` it has and how many are `taken`, by items too; how many
    interactive calls wait, and whether one was refused within `PRESSED_NS`.
    """

    places: int
    taken: int
    waiting: int = 0
    pressed: bool = False


@dataclass(frozen=True, slots=True)
class Interactive:
    """What callers wait for, at all models: how many calls are open, and which shares of recent utterances and
    generations missed an objective.
    """

    open: int = 0
    late: float = 0.0
    slow: float = 0.0


def most_items(traffic: Traffic, items: int, at_once: int, interactive: Interactive, quiet: bool) -> int:
    """How many items may run at a model where `items` run now; `at_once` is the most. `quiet` says that nothing
    interactive has been open for a while. Fewer than run means that some give way.
    """
    if traffic.waiting or traffic.pressed or interactive.late > MOST_LATE or interactive.slow > MOST_SLOW:
        return 0
    reserve = max(1, ceil(traffic.places * RESERVE)) if traffic.places > 1 else 0
    left = traffic.places - reserve - max(0, traffic.taken - items)
    return max(0, min(left, at_once if quiet else max(1, at_once // BESIDE)))

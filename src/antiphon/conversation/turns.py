"""Turn taking: what follows from the caller's speech and from the reply's, as a pure state machine.

Time is an argument, in nanoseconds. The next state for each event, and what is asked for (`Move`):

| state    | speech starts                     | speech ends              | reply begins | reply ends or was cut |
|----------|-----------------------------------|--------------------------|--------------|-----------------------|
| QUIET    | HEARING                           |                          | REPLYING     |                       |
| HEARING  |                                   | QUIET: RESPOND           | BOTH         |                       |
| REPLYING | HEARING: INTERRUPT, else BOTH     |                          |              | QUIET                 |
| BOTH     |                                   | REPLYING, owes RESPOND   |              | HEARING               |

A reply lasts until it has been played, though it was sent long before: speech until then interrupts it, if the spec
permits. An owed RESPOND is asked for once the reply has been made and nobody speaks. RESPOND needs words, except after
an interrupted reply: a cough, or the tail of a turn that is being answered, must not end in silence. There is no
RESPOND if the caller asks for responses itself. The caller's own requests (commit, respond, cancel) bypass this table;
their results are reported to it.

When a reply has been played and nobody has spoken for `idle_ms` since, PROMPT follows, once for each reply.
"""

from dataclasses import dataclass
from enum import Enum, auto

from antiphon.core.conversation.spec import Turns
from antiphon.core.units import NS_PER_MS


class Move(Enum):
    """What the conversation must do next."""

    INTERRUPT = auto()  # stop the reply
    RESPOND = auto()
    PROMPT = auto()  # respond although nobody spoke


@dataclass(slots=True)
class Playback:
    """How far a reply has been heard by a caller who plays it as it arrives. Positions are ms of its speech."""

    sent_ms: int = 0
    until_ns: int = 0  # when all that was sent will have been played

    def sent(self, end_ms: int, now_ns: int) -> None:
        """Count speech up to `end_ms` as sent."""
        self.until_ns = max(self.until_ns, now_ns) + (end_ms - self.sent_ms) * NS_PER_MS
        self.sent_ms = end_ms

    def position_ms(self, now_ns: int) -> int:
        left_ms = max(0, self.until_ns - now_ns) // NS_PER_MS
        return max(0, self.sent_ms - left_ms)


class TurnTaking:
    """The turns of one conversation. `turns` is `None` if the caller controls them all."""

    def __init__(self, turns: Turns | None) -> None:
        self.turns = turns
        self._hearing = False
        self._replying = False  # it is being made
        self._until_ns: int | None = None  # when it will have been played
        self._owed = False  # an answer
        self._idle_from_ns: int | None = None

    def configure(self, turns: Turns | None) -> None:
        """Change how turns are taken."""
        self.turns = turns
        if turns is None or not turns.respond:
            self._owed = False
        if turns is None:
            self._hearing = False
        if turns is None or turns.idle_ms is None:
            self._idle_from_ns = None

    # -- what happens --------------------------------------------------------------------------------------------------

    def speech_started(self, now_ns: int) -> tuple[Move, ...]:
        """Note that the caller has begun to speak. Returns the moves."""
        self._hearing = True
        self._idle_from_ns = None
        if self.turns is not None and self.turns.interrupt and self._audible(now_ns):
            self._owed = self.turns.respond
            return (Move.INTERRUPT,)
        return ()

    def speech_stopped(self, words: bool) -> tuple[Move, ...]:
        """Note that the caller's turn is over; `words` says whether there were any in it. Returns the moves."""
        self._hearing = False
        if self.turns is None or not self.turns.respond:
            return ()
        self._owed = self._owed or words
        return self._due()

    def speech_forgotten(self) -> None:
        """Discard the open turn: the caller controls the rest itself."""
        self._hearing = False
        if not self._replying:
            self._owed = False

    def reply_started(self) -> None:
        """Note that a reply is being made."""
        self._replying = True
        self._owed = False
        self._until_ns = None
        self._idle_from_ns = None

    def plays_until(self, until_ns: int) -> None:
        """Set when the speech sent so far will have been played. More may follow."""
        self._until_ns = until_ns

    def reply_ended(self, now_ns: int) -> tuple[Move, ...]:
        """Note that the reply is complete, though perhaps not played yet. Returns the moves."""
        self._replying = False
        if not self._hearing and not self._owed:
            self._idle_from_ns = now_ns
        return self._due()

    def reply_cut(self) -> None:
        """Note that the reply is not played any further."""
        self._until_ns = None

    # -- time ----------------------------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """Return when `expire` must be called, or `None`."""
        if self.turns is None or self.turns.idle_ms is None or self._idle_from_ns is None:
            return None
        return max(self._idle_from_ns, self._until_ns or 0) + self.turns.idle_ms * NS_PER_MS

    def expire(self, now_ns: int) -> tuple[Move, ...]:
        """Return the moves that are due by now."""
        deadline_ns = self.deadline_ns()
        if deadline_ns is None or now_ns < deadline_ns:
            return ()
        self._idle_from_ns = None
        return (Move.PROMPT,)

    def _due(self) -> tuple[Move, ...]:
        if not self._owed or self._hearing or self._replying:
            return ()
        self._owed = False
        return (Move.RESPOND,)

    def _audible(self, now_ns: int) -> bool:
        return self._replying or (self._until_ns is not None and now_ns < self._until_ns)

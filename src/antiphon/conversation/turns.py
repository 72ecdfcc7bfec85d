"""Who speaks when: what follows from the caller's speech and from the reply's, as a pure state machine.

Time is an argument, in nanoseconds. What each state does with what happens, and what it asks for (`Move`):

| state    | speech starts                     | speech ends              | reply begins | reply ends or was cut |
|----------|-----------------------------------|--------------------------|--------------|-----------------------|
| QUIET    | HEARING                           |                          | REPLYING     |                       |
| HEARING  |                                   | QUIET: RESPOND           | BOTH         |                       |
| REPLYING | HEARING: INTERRUPT, else BOTH     |                          |              | QUIET                 |
| BOTH     |                                   | REPLYING, owes RESPOND   |              | HEARING               |

A reply lasts until it has been played out, though it was sent long before: speech until then interrupts it, where it
may. What is owed is asked for when the reply was made and nobody speaks. RESPOND needs words, but for a reply that was
interrupted: a cough, or the tail of a turn that is being answered, shall not end in silence. It is left out where the
caller asks for responses itself. The caller's own wishes (to commit, to respond, to cancel) go past this table; it is
told of what came of them.

When a reply has been played out and nobody has spoken for `idle_ms` since, PROMPT; once for each reply.
"""

from dataclasses import dataclass
from enum import Enum, auto

from antiphon.core.conversation.spec import Turns
from antiphon.core.units import NS_PER_MS


class Move(Enum):
    """What the conversation shall do."""

    INTERRUPT = auto()  # stop the reply
    RESPOND = auto()
    PROMPT = auto()  # respond although nobody spoke


@dataclass(slots=True)
class Playback:
    """How far a reply has been heard by one who plays it as it comes. Positions are milliseconds of its speech."""

    sent_ms: int = 0
    until_ns: int = 0  # when all that was sent will have been played

    def sent(self, end_ms: int, now_ns: int) -> None:
        """Speech up to there has left."""
        self.until_ns = max(self.until_ns, now_ns) + (end_ms - self.sent_ms) * NS_PER_MS
        self.sent_ms = end_ms

    def heard_ms(self, now_ns: int) -> int:
        left_ms = max(0, self.until_ns - now_ns) // NS_PER_MS
        return max(0, self.sent_ms - left_ms)


class TurnTaking:
    """One conversation's. `turns` is `None` where the caller does all of it."""

    def __init__(self, turns: Turns | None) -> None:
        self.turns = turns
        self._hearing = False
        self._replying = False  # it is being made
        self._until_ns: int | None = None  # when it will have been played
        self._owed = False  # an answer
        self._idle_from_ns: int | None = None

    def configure(self, turns: Turns | None) -> None:
        """From now on like that."""
        self.turns = turns
        if turns is None or not turns.respond:
            self._owed = False
        if turns is None:
            self._hearing = False
        if turns is None or turns.idle_ms is None:
            self._idle_from_ns = None

    # -- what happens --------------------------------------------------------------------------------------------------

    def speech_started(self, now_ns: int) -> tuple[Move, ...]:
        self._hearing = True
        self._idle_from_ns = None
        if self.turns is not None and self.turns.interrupt and self._audible(now_ns):
            self._owed = self.turns.respond
            return (Move.INTERRUPT,)
        return ()

    def speech_stopped(self, words: bool) -> tuple[Move, ...]:
        self._hearing = False
        if self.turns is None or not self.turns.respond:
            return ()
        self._owed = self._owed or words
        return self._due()

    def speech_forgotten(self) -> None:
        """The caller does the rest itself."""
        self._hearing = False
        if not self._replying:
            self._owed = False

    def reply_started(self) -> None:
        self._replying = True
        self._owed = False
        self._until_ns = None
        self._idle_from_ns = None

    def plays_until(self, until_ns: int) -> None:
        """When what has been sent of the reply will have been played; it may still be made, or not any more."""
        self._until_ns = until_ns

    def reply_ended(self, now_ns: int) -> tuple[Move, ...]:
        """It was made, and has perhaps not been played."""
        self._replying = False
        if not self._hearing and not self._owed:
            self._idle_from_ns = now_ns
        return self._due()

    def reply_cut(self) -> None:
        """It is played no further."""
        self._until_ns = None

    # -- time ----------------------------------------------------------------------------------------------------------

    def deadline_ns(self) -> int | None:
        """When `expire` wants to be called."""
        if self.turns is None or self.turns.idle_ms is None or self._idle_from_ns is None:
            return None
        return max(self._idle_from_ns, self._until_ns or 0) + self.turns.idle_ms * NS_PER_MS

    def expire(self, now_ns: int) -> tuple[Move, ...]:
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

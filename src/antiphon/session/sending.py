"""Large answers in memory, which callers may read slowly: bounded in bytes until they are sent, of each key, of each
project and in all.
"""

from antiphon.core.errors import CapacityError
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.wire import Head, Step
from antiphon.slo.shares import Bound, Place, Shares

SMALL_BYTES = 64 * 1024  # more than fits into the server's buffers is counted
UNIT_BYTES = 1 << 20
UNITS = Bound(256, per_project=128, per_key=64)
RETRY_AFTER_S = 5


class Sending:
    """The large answers that are being sent."""

    def __init__(self, clock: Clock, bound: Bound = UNITS) -> None:
        self._clock = clock
        self._shares = Shares(bound)

    def hold(self, principal: Principal, step: Step) -> Step:
        """Return a whole answer, which counts until its `rest` is released. One that alone has more than a key may hold
        counts as so much. Raises `CapacityError`.
        """
        size = sum(len(each) for each in step.sends if not isinstance(each, Head))
        if step.rest is not None or size <= SMALL_BYTES:
            return step
        bound = self._shares.bound
        units = min(-(-size // UNIT_BYTES), bound.per_key or bound.most)
        if not self._shares.fits(principal, units):
            raise CapacityError("Too many large answers are being sent.", retry_after_s=RETRY_AFTER_S)
        place = self._shares.hold(principal, units, self._clock.now_ns())
        return Step(sends=step.sends, close=step.close, rest=_Held(self._shares, place))


class _Held:
    """The memory of an answer that has nothing left to be read. Implements `core.wire.Rest`."""

    left_bytes = 0

    def __init__(self, shares: Shares, place: Place) -> None:
        self._place: Place | None = place
        self._shares = shares

    async def read(self) -> bytes:
        return b""

    def release(self) -> None:
        if self._place is not None:
            self._shares.let_go(self._place)
            self._place = None

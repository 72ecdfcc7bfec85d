"""One request at one backend after another: what is learned there, and whether another one is tried."""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from antiphon.core.errors import CallerError, CapacityError, EngineError, EngineMisconfigured, PolicyError
from antiphon.core.ports import Clock, Embedder, EngineCall, Generator, Inferrer
from antiphon.core.units import NS_PER_MS
from antiphon.pools.backend import Hold, Member
from antiphon.pools.breaker import Sign, State
from antiphon.pools.gate import Ask
from antiphon.pools.queue import Pace

LONGEST_REST_S = 10

# What an error says about its backend's health; the first matching row counts. Any other error is a defect of the
# server and says nothing about a backend. Only the engine's errors, and that it is full, are retried elsewhere.
HEALTH: tuple[tuple[tuple[type[BaseException], ...], Sign | None], ...] = (
    ((CallerError, PolicyError), None),  # the same request would fail anywhere
    # It is up and works for others, or will once our configuration is right.
    ((CapacityError, EngineMisconfigured), None),
    ((EngineError, TimeoutError, OSError), Sign.FAILED),
)
ELSEWHERE = (CapacityError, EngineError, TimeoutError, OSError)

log = logging.getLogger(__name__)


class Backends(Protocol):
    """The backends that a request may go to, as their pool knows them. `ttft_ms` and `tpot_ms` are the objectives;
    `retried` counts requests.
    """

    clock: Clock
    pace: Pace
    ttft_ms: int
    tpot_ms: int
    retried: int

    def hear(self, place: Member, sign: Sign) -> None:
        """Hear a sign of a backend's health."""

    def note(self, place: Member, error: BaseException | None) -> None:
        """Note when a backend will be ready, if its error says so."""

    def note_start(self, place: Member, first_ms: float) -> None:
        """Note the first output of a request."""

    def note_departure(self, place: Member, sign: Sign | None, held_ms: float | None) -> None:
        """Note that a request has left a backend: with a sign of health or none, and its time there if it had
        output.
        """

    def hold_elsewhere(self, tried: Sequence[Member], ask: Ask, call: EngineCall) -> Hold | None:
        """Take a place at a backend that was not tried, if a retry is permitted."""


class Attempt:
    """A request at a backend. As a context manager it returns the engine and frees the place at the end. If a retry is
    right, it swallows the error and takes another place. `tried` are all backends that it was at.
    """

    __slots__ = ("_ask", "_backends", "_begun_ns", "_call", "_has_answer", "_hold", "_output", "_tried")

    def __init__(self, backends: Backends, ask: Ask, call: EngineCall, hold: Hold, tried: list[Member]) -> None:
        self._backends = backends
        self._ask = ask
        self._call = call
        self._hold = hold
        self._tried = tried
        tried.append(hold.place)
        self._begun_ns = 0
        self._has_answer = self._output = False

    def __enter__(self) -> Generator | Embedder | Inferrer:
        self._begun_ns = self._backends.clock.now_ns()
        return self._hold.place.engine

    @property
    def started(self) -> bool:
        """Whether some output has come."""
        return self._output

    def note_answer(self, output: bool = True) -> None:
        """Note an answer of the engine; without `output`, only a token count. A backend on trial then counts as
        healthy.
        """
        hold, backends = self._hold, self._backends
        self._has_answer = True
        if hold.place.state is State.HALF_OPEN:
            backends.hear(hold.place, Sign.SUCCEEDED)
        if output:
            self._output = True
            self._call.serving.engine = self._call.serving.engine or hold.place.name
            first_ms = (backends.clock.now_ns() - self._begun_ns) / NS_PER_MS
            if self._ask.gradual:
                beside = max(hold.beside, hold.place.starting)
                hold.place.learn(first_ms, beside, backends.ttft_ms)
                backends.pace.learn_start(first_ms / beside)
            hold.note_start()
            backends.note_start(hold.place, first_ms)

    def learn_pace(self, tokens: int, waited_ns: int, took_ns: int) -> None:
        """Learn the pace of an answer of so many tokens: those after the first output took `took_ns`, of which the
        engine was waited for `waited_ns`. If the caller was slow, the engine was at least that fast.
        """
        gaps = tokens / self._ask.outputs - 1
        if not self._ask.gradual:
            return
        if gaps < 1:
            self._hold.place.learn_no_pace(self._backends.clock.now_ns())
            return
        slow = 2 * waited_ns <= took_ns
        tpot_ms = (took_ns if slow else waited_ns) / gaps / NS_PER_MS
        if not slow or tpot_ms <= self._backends.tpot_ms:
            self._hold.place.learn_pace(tpot_ms, self._backends.tpot_ms, self._backends.clock.now_ns())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        hold, now_ns, backends = self._hold, self._backends.clock.now_ns(), self._backends
        hold.end()
        if isinstance(error, CapacityError):
            hold.place.rest(min(LONGEST_REST_S, error.retry_after_s or 1), now_ns)
        elif isinstance(error, EngineMisconfigured):
            hold.place.rest(LONGEST_REST_S, now_ns)
            log.error(
                "a backend rejects the server's credential, address or model name",
                extra={"backend": hold.place.name, "reason": error.message},
            )
        backends.note(hold.place, error)
        elsewhere = None
        if not self._has_answer and isinstance(error, ELSEWHERE):
            elsewhere = backends.hold_elsewhere(self._tried, self._ask, self._call)
        held_ms = (now_ns - self._begun_ns) / NS_PER_MS if self._output else None
        backends.note_departure(hold.place, self._sign(error, now_ns), held_ms)
        if elsewhere is None:
            return False
        backends.retried += 1
        log.warning(
            "request retried at another backend", extra={"backend": hold.place.name, "error": type(error).__name__}
        )
        self._hold = elsewhere
        self._tried.append(elsewhere.place)
        return True

    def another(self) -> "Attempt | None":
        """Return the same request at a second backend, if one may be asked."""
        hold = self._backends.hold_elsewhere(self._tried, self._ask, self._call)
        return None if hold is None else Attempt(self._backends, self._ask, self._call, hold, self._tried)

    def _sign(self, error: BaseException | None, now_ns: int) -> Sign | None:
        """Return the sign of the backend's health."""
        if isinstance(error, Exception):
            return next((sign for kinds, sign in HEALTH if isinstance(error, kinds)), None)
        if self._has_answer:
            return Sign.SUCCEEDED
        late = self._call.deadline_ns is not None and now_ns >= self._call.deadline_ns
        return Sign.FAILED if late else None  # the caller has left

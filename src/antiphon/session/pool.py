"""Several backends that serve one model, as one engine.

1. A request waits at the gate while every backend is full (`scheduler/gate.py`), then goes where `scheduler/routing.py`
   says. Once it runs, nothing stands between it and its backend but plain iteration.
2. It is tried again only where nothing has been yielded, at a backend that it was not at, while there is one with room,
   the call's deadline has not passed and the budget allows: retries are a tenth of all requests, and a few on top. What
   the caller did wrong is never tried again. Where a pool hedges (`session/hedge.py`), the second backend of a request
   that is kept waiting is chosen by the same rules and on the same budget.
3. Health is judged by outcome and by probe (`scheduler/breaker.py`). Output is a good sign, whatever ends it later but
   an error; who leaves before any came gives none, unless the deadline had passed.
4. A backend that says it is full is not ill: it is left alone for as long as it asks, within a bound.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import cast

from antiphon.core.errors import CallerError, CapacityError, EngineError, PolicyError
from antiphon.core.events import Embedded, Inferred, TokenUsage
from antiphon.core.ports import Call, Clock, Embedder, Generator, Inferrer
from antiphon.core.specs import GenerateSpec, InferSpec
from antiphon.core.tensors import ModelForm
from antiphon.core.units import NS_PER_MS, NS_PER_S
from antiphon.scheduler.breaker import Breaker, Sign, State
from antiphon.scheduler.gate import Gate
from antiphon.scheduler.queue import Limits
from antiphon.scheduler.routing import choose, has_room, prefix_key
from antiphon.session.hedge import Answer, hedged

RETRY_SHARE = 0.1  # of requests
RETRY_BURST = 10.0
PROBE_S = 5.0  # for the answer to a probe
LOOK_S = 0.5  # between looks at whether one is due
LONGEST_REST_S = 10
RETRY_AFTER_S = 2
SMOOTH = 0.1  # the share of the latest in a moving mean

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    """One engine of a pool, which takes `outstanding` requests at once; `weight` is its share of the work."""

    name: str
    engine: Generator | Embedder | Inferrer
    weight: int = 1
    outstanding: int = 256


@dataclass(frozen=True, slots=True)
class BackendStats:
    """`chosen` counts requests, `sticky` those of them that went where their prefix belongs."""

    name: str
    state: State
    outstanding: int
    chosen: int
    sticky: int
    failed: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """`waiting` is now; the others count since the start."""

    backends: tuple[BackendStats, ...]
    waiting: int
    shed: int
    retried: int
    hedged: int


class _Place:
    """What the pool knows of a backend; implements `scheduler.routing.Candidate`."""

    __slots__ = (
        *("breaker", "chosen", "engine", "failed", "latency_ms", "most", "name"),
        *("outstanding", "rests_until_ns", "sticky", "trials", "weight"),
    )

    def __init__(self, backend: Backend, now_ns: int) -> None:
        self.name = backend.name
        self.engine = backend.engine
        self.weight = backend.weight
        self.most = backend.outstanding
        self.breaker = Breaker(now_ns)
        self.outstanding = self.trials = 0
        self.rests_until_ns = now_ns
        self.latency_ms = 0.0
        self.chosen = self.sticky = self.failed = 0

    @property
    def state(self) -> State:
        return self.breaker.state

    def rest(self, seconds: int, now_ns: int) -> None:
        """It is full."""
        self.rests_until_ns = now_ns + seconds * NS_PER_S


class Pool:
    """Implements the ports that its backends implement, which are all of one kind. `watch` must run beside it.

    `hedge_after_ms` is how long a backend may keep a generation waiting before another is asked too; 0 is for ever.
    """

    def __init__(self, backends: Sequence[Backend], clock: Clock, limits: Limits, hedge_after_ms: int = 0) -> None:
        now_ns = clock.now_ns()
        self._backends = [_Place(backend, now_ns) for backend in backends]
        self.clock = clock
        self._gate: Gate[_Hold] = Gate(self, clock, limits)
        self._hedge_after_s = hedge_after_ms / 1000
        self._budget = RETRY_BURST
        self.retried = self.hedged = 0

    # -- for sessions --------------------------------------------------------------------------------------------------

    def generate(self, spec: GenerateSpec, call: Call) -> Answer:
        """See `Generator`. Raises `CapacityError` where it would have to wait too long."""
        return self._hedging(spec, call) if self._hedge_after_s else self._generate(spec, call)

    async def _hedging(self, spec: GenerateSpec, call: Call) -> Answer:
        attempt = await self._attempt(prefix_key(spec.prompt), call)

        def second() -> Answer | None:
            another = attempt.another()
            if another is None:
                return None
            self.hedged += 1
            return self._generate(spec, call, another)

        # Both run in tasks of their own, whose first step comes before anything can end this one: no place is lost.
        async with aclosing(hedged(self._generate(spec, call, attempt), second, self._hedge_after_s)) as produced:
            async for batch in produced:
                yield batch

    async def _generate(self, spec: GenerateSpec, call: Call, attempt: "_Attempt | None" = None) -> Answer:
        if attempt is None:
            attempt = await self._attempt(prefix_key(spec.prompt) if len(self._backends) > 1 else None, call)
        while True:
            with attempt as engine:
                async with aclosing(cast(Generator, engine).generate(spec, call)) as produced:
                    try:
                        batch = await anext(produced)
                    except StopAsyncIteration:
                        raise EngineError("The engine ended before it began.") from None
                    attempt.answered()
                    yield batch
                    async for batch in produced:
                        yield batch
                if not isinstance(batch[-1], TokenUsage):
                    raise EngineError("The engine ended without an end.")
                return

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: Call) -> Embedded:
        """See `Embedder`. Raises `CapacityError` where it would have to wait too long."""
        attempt = await self._attempt(None, call)
        while True:
            with attempt as engine:
                embedded = await cast(Embedder, engine).embed(texts, call)
                attempt.answered()
                return embedded

    async def infer(self, spec: InferSpec, call: Call) -> Inferred:
        """See `Inferrer`. Raises `CapacityError` where it would have to wait too long."""
        attempt = await self._attempt(None, call)
        while True:
            with attempt as engine:
                inferred = await cast(Inferrer, engine).infer(spec, call)
                attempt.answered()
                return inferred

    async def describe(self, version: str) -> ModelForm:
        """See `Inferrer`: the first backend's."""
        return await cast(Inferrer, self._backends[0].engine).describe(version)

    async def check(self) -> None:
        if all(place.state is State.OPEN for place in self._backends):
            raise _nobody()

    async def close(self) -> None:
        for outcome in await asyncio.gather(
            *(place.engine.close() for place in self._backends), return_exceptions=True
        ):
            if isinstance(outcome, BaseException):
                log.error("a backend could not be closed", extra={"error": type(outcome).__name__})

    def stats(self) -> PoolStats:
        backends = tuple(
            BackendStats(p.name, p.state, p.outstanding, p.chosen, p.sticky, p.failed) for p in self._backends
        )
        return PoolStats(backends, len(self._gate), self._gate.shed, self.retried, self.hedged)

    # -- health --------------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Runs for ever: probes each backend when it is due, none waiting for another."""
        async with asyncio.TaskGroup() as group:
            for place in self._backends:
                group.create_task(self._watch(place), name=f"probe {place.name}")

    async def _watch(self, place: _Place) -> None:
        while True:
            await self.probe(place.name)
            await asyncio.sleep(LOOK_S)

    async def probe(self, name: str) -> None:
        """One backend, if it is time to."""
        place = next(place for place in self._backends if place.name == name)
        if self.clock.now_ns() < place.breaker.probe_ns:
            return
        sign = Sign.PROBED_WELL
        try:
            async with asyncio.timeout(PROBE_S):
                await place.engine.check()
        except Exception:  # whatever it is, the backend cannot say that it is well
            sign = Sign.PROBED_ILL
        self.hear(place, sign)

    def hear(self, place: _Place, sign: Sign) -> None:
        place.failed += sign is Sign.FAILED
        if place.breaker.hear(sign, self.clock.now_ns()):
            log.warning("backend", extra={"backend": place.name, "state": place.state.value})
            if all(other.state is State.OPEN for other in self._backends):
                self._gate.turn_away(_nobody)
            self._gate.let_in()

    # -- places, for the gate ------------------------------------------------------------------------------------------

    def count(self) -> int:
        return sum(place.most for place in self._backends if place.state is not State.OPEN)

    def any_free(self) -> bool:
        return any(has_room(place) for place in self._backends)

    def claim(self, key: bytes | None) -> "_Hold | None":
        choice = choose(self._backends, key, self.clock.now_ns())
        if choice is None:
            if all(place.state is State.OPEN for place in self._backends):
                raise _nobody()
            return None
        place, sticky = choice
        place.chosen += 1
        place.sticky += sticky
        return _Hold(place)

    def give_back(self, hold: "_Hold") -> None:
        hold.end()

    # -- one request ---------------------------------------------------------------------------------------------------

    async def _attempt(self, key: bytes | None, call: Call) -> "_Attempt":
        self._budget = min(RETRY_BURST, self._budget + RETRY_SHARE)
        return _Attempt(self, key, call, await self._gate.enter(key, call.deadline_ns), [])

    def left(self, place: _Place, sign: Sign | None, begun_ns: int, first_ns: int | None) -> None:
        """A request has left a backend, with a sign of the backend's health or none."""
        if sign:
            self.hear(place, sign)
        if first_ns is not None:
            first_ms = (first_ns - begun_ns) / NS_PER_MS
            place.latency_ms += SMOOTH * (first_ms - place.latency_ms)
            self._gate.learn(first_ms, (self.clock.now_ns() - begun_ns) / NS_PER_MS)
        self._gate.let_in()

    def elsewhere(self, tried: Sequence[_Place], key: bytes | None, call: Call) -> "_Hold | None":
        """Another backend for a request that was at those, if one may be asked."""
        now_ns = self.clock.now_ns()
        others = [place for place in self._backends if place not in tried]
        choice = choose(others, key, now_ns)
        if choice is None or self._budget < 1 or (call.deadline_ns is not None and now_ns >= call.deadline_ns):
            return None
        self._budget -= 1
        return _Hold(choice[0])


class _Hold:
    """A place that is taken, until `end`. One at a half-open backend is its trial."""

    __slots__ = ("_trial", "place")

    def __init__(self, place: _Place) -> None:
        self.place = place
        self._trial = int(place.state is State.HALF_OPEN)
        place.outstanding += 1
        place.trials += self._trial

    def end(self) -> None:
        self.place.outstanding -= 1
        self.place.trials -= self._trial


class _Attempt:
    """A request at a backend. As a context manager it gives the engine, and leaves the place at the end; where another
    try is right it swallows the error and has another place. `tried` are all the backends that the request was at.
    """

    __slots__ = ("_begun_ns", "_call", "_first_ns", "_hold", "_key", "_pool", "_tried")

    def __init__(self, pool: Pool, key: bytes | None, call: Call, hold: _Hold, tried: list[_Place]) -> None:
        self._pool = pool
        self._key = key
        self._call = call
        self._hold = hold
        self._tried = tried
        tried.append(hold.place)
        self._begun_ns = 0
        self._first_ns: int | None = None

    def __enter__(self) -> Generator | Embedder | Inferrer:
        self._begun_ns = self._pool.clock.now_ns()
        return self._hold.place.engine

    def answered(self) -> None:
        """Something came from the engine. To one on trial that is enough: the others need not wait for the end."""
        self._first_ns = self._pool.clock.now_ns()
        if self._hold.place.state is State.HALF_OPEN:
            self._pool.hear(self._hold.place, Sign.SUCCEEDED)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        hold, now_ns = self._hold, self._pool.clock.now_ns()
        hold.end()
        if isinstance(error, CapacityError):
            hold.place.rest(min(LONGEST_REST_S, error.retry_after_s or 1), now_ns)
        elsewhere = None
        if self._first_ns is None and isinstance(error, Exception) and not isinstance(error, CallerError | PolicyError):
            elsewhere = self._pool.elsewhere(self._tried, self._key, self._call)
        self._pool.left(hold.place, self._sign(error, now_ns), self._begun_ns, self._first_ns)
        if elsewhere is None:
            return False
        self._pool.retried += 1
        log.warning("tried elsewhere", extra={"backend": hold.place.name, "error": type(error).__name__})
        self._hold = elsewhere
        self._tried.append(elsewhere.place)
        return True

    def another(self) -> "_Attempt | None":
        """The same request at another backend besides, if one may be asked."""
        hold = self._pool.elsewhere(self._tried, self._key, self._call)
        return None if hold is None else _Attempt(self._pool, self._key, self._call, hold, self._tried)

    def _sign(self, error: BaseException | None, now_ns: int) -> Sign | None:
        """Of the backend's health."""
        if isinstance(error, CallerError | PolicyError | CapacityError):
            return None
        if isinstance(error, Exception):
            return Sign.FAILED
        if self._first_ns is not None:
            return Sign.SUCCEEDED
        late = self._call.deadline_ns is not None and now_ns >= self._call.deadline_ns
        return Sign.FAILED if late else None  # the caller has gone


def _nobody() -> EngineError:
    return EngineError("No backend of this model works now.", retry_after_s=RETRY_AFTER_S)

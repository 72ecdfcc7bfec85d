"""Several backends that serve one model, as one engine.

1. A request waits at the gate while every backend is full (`pools/gate.py`), then goes where `pools/routing.py`
   decides. While it runs, only plain iteration lies between it and its backend.
2. A request is retried (`pools/attempt.py`) only if nothing was yielded, at a backend that it has not tried, while one
   has room, the call's deadline has not passed and the budget allows: a tenth of all requests, and a few more. Errors
   of the caller are never retried. If a pool hedges (`pools/hedge.py`), the second backend is chosen by the same rules,
   on the same budget.
3. Results and probes decide about health (`pools/breaker.py`). Output is a good sign, whatever ends it later except an
   error; a caller that leaves before any output gives no sign, unless the deadline had passed. Only errors of the
   engine count: `attempt.HEALTH`. A backend that announces when it is ready (`core.ports.Announcing`) is tried at once
   then.
4. A backend that says it is full is not unhealthy: it is left alone for as long as it asks, within a bound.
5. A project is served only by the backends that its policy permits, whatever chooses: first choice, retry or hedge. The
   policy is asked at each choice, so that a change holds for those that wait, too.
6. No project gets all places (`pools/quota.py`), and no more generations are before their first output than start in
   time (`pools/limit.py`). Several outputs of one request hold as many places.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from typing import cast

from antiphon.core.capabilities import Ability
from antiphon.core.errors import EngineError, NoEngineAllowed
from antiphon.core.events import Embedded, Inferred, TokenUsage
from antiphon.core.ports import Announcing, Clock, Embedder, EngineCall, Generator, Inferrer
from antiphon.core.specs import GenerateSpec, InferSpec
from antiphon.core.tensors import ModelForm
from antiphon.core.units import NS_PER_S
from antiphon.pools.attempt import Attempt
from antiphon.pools.backend import Backend, Hold, Member
from antiphon.pools.breaker import Sign, State
from antiphon.pools.gate import Ask, Gate
from antiphon.pools.hedge import Answer, hedged
from antiphon.pools.limit import Pressure
from antiphon.pools.queue import QueueLimits, Room
from antiphon.pools.quota import Quota
from antiphon.pools.routing import choose, has_room, prefix_key
from antiphon.slo.filling import PRESSED_NS, Traffic

RETRY_SHARE = 0.1  # of requests
RETRY_BURST = 10.0
PROBE_S = 5.0  # for the answer to a probe
LOOK_S = 0.5  # between checks whether a probe is due
LONGEST_RETRY_S = 60
SMOOTH = 0.1  # share of the latest in a moving mean

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackendStats:
    """Counters of one backend. `chosen` counts requests, `sticky` those that went where their prefix belongs."""

    name: str
    state: State
    outstanding: int
    chosen: int
    sticky: int
    failed: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Counters of a pool since the start; `waiting` is the present number."""

    backends: tuple[BackendStats, ...]
    waiting: int
    shed: int
    retried: int
    hedged: int


Permitted = Callable[[str], Collection[str] | None]


def all_permitted(project: str) -> None:
    """Permit every backend."""


class Pool:
    """Implements the ports of its backends, which are all of one kind. `watch` must run beside it. `hedge_after_ms` is
    how long a backend may delay a generation before a second one is asked; 0 means never. `permitted` returns the names
    of the backends that may serve a project; `None` for all.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        clock: Clock,
        limits: QueueLimits,
        hedge_after_ms: int = 0,
        permitted: Permitted = all_permitted,
    ) -> None:
        now_ns = clock.now_ns()
        self.pressure = Pressure()
        self._backends = [Member(backend, self.pressure, now_ns) for backend in backends]
        self._permitted = permitted
        self.quota = Quota()
        self._always_streams = all(backend.always_streams for backend in backends)
        self.clock = clock
        self._gate: Gate[Hold] = Gate(self, clock, limits, self.pressure)
        self.pace = self._gate.pace
        self.ttft_ms, self.tpot_ms = limits.ttft_ms, limits.tpot_ms
        self._hedge_after_s = hedge_after_ms / 1000
        self._budget = RETRY_BURST
        self.retried = self.hedged = 0
        for place in self._backends:
            if isinstance(place.engine, Announcing):
                place.engine.when_ready(partial(self.hear, place, Sign.PROBED_WELL))

    # -- for sessions --------------------------------------------------------------------------------------------------

    @cached_property
    def abilities(self) -> frozenset[Ability]:
        """What all backends of a language model can do, since any of them may answer."""
        each = [cast(Generator, place.engine).abilities for place in self._backends]
        return each[0].intersection(*each[1:])

    def generate(self, spec: GenerateSpec, call: EngineCall) -> Answer:
        """Generate an answer: see `Generator`. Raises `CapacityError` if the wait would be too long."""
        return self._hedging(spec, call) if self._hedge_after_s else self._generate(spec, call)

    async def _hedging(self, spec: GenerateSpec, call: EngineCall) -> Answer:
        attempt = await self._attempt(self._ask(prefix_key(spec.prompt), spec, call), call)

        def second() -> Answer | None:
            another = attempt.another()
            if another is None:
                return None
            self.hedged += 1
            return self._generate(spec, call, another)

        # Both run in their own tasks, whose first step comes before anything can end this one: no place is lost.
        async with aclosing(hedged(self._generate(spec, call, attempt), second, self._hedge_after_s)) as produced:
            async for batch in produced:
                yield batch

    async def _generate(self, spec: GenerateSpec, call: EngineCall, attempt: Attempt | None = None) -> Answer:
        if attempt is None:
            key = prefix_key(spec.prompt) if len(self._backends) > 1 else None
            attempt = await self._attempt(self._ask(key, spec, call), call)
        while True:
            with attempt as engine:
                async with aclosing(cast(Generator, engine).generate(spec, call)) as produced:
                    async for batch in produced:
                        attempt.note_answer(output=len(batch) > 1 or not isinstance(batch[0], TokenUsage))
                        yield batch
                        if attempt.started:
                            break
                    waited_ns, began_ns = 0, self.clock.now_ns()
                    last_ns = began_ns
                    async for batch in produced:
                        waited_ns += self.clock.now_ns() - last_ns
                        yield batch
                        last_ns = self.clock.now_ns()
                if not attempt.started:
                    raise EngineError("The engine stopped before it started to answer.")
                if not isinstance(batch[-1], TokenUsage):
                    raise EngineError("The engine stopped without finishing its answer.")
                attempt.learn_pace(batch[-1].output, waited_ns, last_ns - began_ns)
                return

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: EngineCall) -> Embedded:
        """Embed texts: see `Embedder`. Raises `CapacityError` if the wait would be too long."""
        attempt = await self._attempt(Ask(None, call.project, call.weight, item=call.item), call)
        while True:
            with attempt as engine:
                embedded = await cast(Embedder, engine).embed(texts, call)
                attempt.note_answer()
                return embedded

    async def infer(self, spec: InferSpec, call: EngineCall) -> Inferred:
        """Run an inference: see `Inferrer`. Raises `CapacityError` if the wait would be too long."""
        attempt = await self._attempt(Ask(None, call.project, call.weight, item=call.item), call)
        while True:
            with attempt as engine:
                inferred = await cast(Inferrer, engine).infer(spec, call)
                attempt.note_answer()
                return inferred

    async def describe(self, version: str) -> ModelForm:
        """Return the first backend's description of a model: see `Inferrer`."""
        return await cast(Inferrer, self._backends[0].engine).describe(version)

    async def check(self) -> None:
        if self._none_trusted:
            raise self._nobody()

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

    def traffic(self) -> Traffic:
        """Return the present load, for work that can wait."""
        trusted = self._trusted(self._backends)
        taken = sum(place.outstanding for place in trusted)
        pressed = self.pressure.refused_within(self.clock.now_ns(), PRESSED_NS)
        return Traffic(sum(place.places for place in trusted), taken, self._gate.interactive, pressed)

    # -- health --------------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Probe each backend when it is due, for ever and independently."""
        async with asyncio.TaskGroup() as group:
            for place in self._backends:
                group.create_task(self._watch(place), name=f"probe {place.name}")

    async def _watch(self, place: Member) -> None:
        while True:
            await self.probe(place.name)
            await asyncio.sleep(LOOK_S)

    async def probe(self, name: str) -> None:
        """Probe one backend if it is due."""
        place = next(place for place in self._backends if place.name == name)
        if self.clock.now_ns() < place.breaker.probe_ns:
            return
        sign = Sign.PROBED_WELL
        try:
            async with asyncio.timeout(PROBE_S):
                await place.engine.check()
        except Exception as error:  # whatever the error, the backend cannot say that it is ready
            sign = Sign.PROBED_ILL
            self.note(place, error)
        self.hear(place, sign)

    def note(self, place: Member, error: BaseException | None) -> None:
        """Note when a backend will be ready, if its error says so."""
        if isinstance(error, EngineError) and error.retry_after_s:
            place.well_ns = self.clock.now_ns() + error.retry_after_s * NS_PER_S

    def hear(self, place: Member, sign: Sign) -> None:
        place.failed += sign is Sign.FAILED
        if place.breaker.hear(sign, self.clock.now_ns()):
            log.warning("backend", extra={"backend": place.name, "state": place.state.value})
            if self._none_trusted:
                self._gate.turn_away(self._nobody)
            self._gate.let_in()

    # -- places, for the gate ------------------------------------------------------------------------------------------

    def room(self, project: str | None = None) -> Room:
        trusted = self._trusted(self._backends if project is None else self._of(project))
        paced = bool(trusted) and all(place.starts.now < place.places for place in trusted)
        return Room(sum(place.places for place in trusted), sum(place.free for place in trusted), paced)

    def any_free(self) -> bool:
        return any(has_room(place) for place in self._backends)

    def may(self, project: str, weight: int) -> bool:
        places = free = 0
        backends = self._of(project)
        for place in backends:  # one loop for all: every request passes here
            if place.state is not State.OPEN:
                places += place.places
                free += place.free  # of each by itself: one over its limit takes nothing from another
        if free > 0:
            return self.quota.may(project, weight, free)
        # Fewer may be used than exist: a project with less than its share need not wait for those with more.
        trusted = self._trusted(backends)
        return (any(place.empty for place in trusted) and self.quota.lacks(project, weight, places)) or not trusted

    def ready(self, project: str, weight: int) -> bool:
        backends = self._of(project)
        return (any(map(has_room, backends)) or not self._trusted(backends)) and self.may(project, weight)

    def _of(self, project: str) -> list[Member]:
        """Return the backends that may serve the project."""
        names = self._permitted(project)
        return self._backends if names is None else [place for place in self._backends if place.name in names]

    @staticmethod
    def _trusted(backends: Sequence[Member]) -> list[Member]:
        return [place for place in backends if place.state is not State.OPEN]

    @property
    def _none_trusted(self) -> bool:
        return not self._trusted(self._backends)

    def claim(self, ask: Ask) -> Hold | None:
        backends = self._of(ask.project)
        choice = choose(backends, ask.key, self.clock.now_ns())
        if choice is None:
            if not backends:  # the policy was changed after the call was opened
                raise NoEngineAllowed("No engine of this model satisfies the project's policy.", param="model")
            if not self._trusted(backends):
                raise self._nobody(backends)
            return None
        place, sticky = choice
        place.chosen += 1
        place.sticky += sticky
        return Hold(place, self.quota, ask)

    def give_back(self, hold: Hold) -> None:
        hold.end()

    # -- one request ---------------------------------------------------------------------------------------------------

    def _ask(self, key: bytes | None, spec: GenerateSpec, call: EngineCall) -> Ask:
        gradual = spec.stream or self._always_streams
        return Ask(key, call.project, call.weight, spec.choices, gradual, call.item)

    async def _attempt(self, ask: Ask, call: EngineCall) -> Attempt:
        self._budget = min(RETRY_BURST, self._budget + RETRY_SHARE)
        return Attempt(self, ask, call, await self._gate.enter(ask, call.deadline_ns), [])

    def note_start(self, place: Member, first_ms: float) -> None:
        """Note the first output of a request."""
        place.latency_ms += SMOOTH * (first_ms - place.latency_ms)
        self.pace.learn_first(first_ms)
        self._gate.let_in()

    def note_departure(self, place: Member, sign: Sign | None, held_ms: float | None) -> None:
        """Note that a request has left a backend: with a sign of health or none, and its time there if it had
        output.
        """
        self.pressure.note_departure(self.clock.now_ns())
        if sign:
            self.hear(place, sign)
        if held_ms is not None:
            self.pace.learn_held(held_ms)
        self._gate.let_in()

    def hold_elsewhere(self, tried: Sequence[Member], ask: Ask, call: EngineCall) -> Hold | None:
        """Take a place at a backend that was not tried, if a retry is permitted."""
        now_ns = self.clock.now_ns()
        others = [place for place in self._of(ask.project) if place not in tried]
        choice = choose(others, ask.key, now_ns)
        if choice is None or self._budget < 1 or (call.deadline_ns is not None and now_ns >= call.deadline_ns):
            return None
        self._budget -= 1
        return Hold(choice[0], self.quota, ask)

    def _nobody(self, backends: Sequence[Member] = ()) -> EngineError:
        """Return the error for when none of these backends, or of all, is trusted, with the time until one may be."""
        now_ns = self.clock.now_ns()
        soonest_ns = min(p.well_ns if p.well_ns > now_ns else p.breaker.probe_ns for p in backends or self._backends)
        retry_after_s = min(LONGEST_RETRY_S, max(1, ceil((soonest_ns - now_ns) / NS_PER_S)))
        return EngineError("No backend of this model is available.", retry_after_s=retry_after_s)

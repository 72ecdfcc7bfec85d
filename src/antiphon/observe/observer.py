"""What operators see: the objectives' indicators, the scheduler and the ledger as Prometheus metrics, and the end of
each session in the log. Never content.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from antiphon.core.budgets import shown
from antiphon.core.call import Call
from antiphon.core.entry import Entry
from antiphon.core.ports import Clock
from antiphon.core.speech import Load
from antiphon.core.usage import Dimension
from antiphon.metering.budgets import Alert
from antiphon.observe import metrics
from antiphon.observe.exports import Exports, ExportStats
from antiphon.observe.holds import LoopHolds
from antiphon.observe.jobs import Jobs, JobStats
from antiphon.observe.metrics import family
from antiphon.pools.breaker import State
from antiphon.pools.pool import PoolStats
from antiphon.scheduler.policy import WorkKind
from antiphon.scheduler.runner import BatchReport
from antiphon.slo.measure import Measured, MeasuredTokens
from antiphon.slo.objectives import Objectives
from antiphon.supervision import Supervisor, supervisor

RECENT = 200  # utterances that admission considers, if they are not older than
RECENT_NS = 10_000_000_000
ENOUGH = 50  # utterances to judge by
FEW = 4  # generations to judge by


log = logging.getLogger(__name__)


def _waiting(loads: Mapping[str, Callable[[], Load]], kind: str) -> int:
    return sum(load().waiting.get(kind, 0) for load in loads.values())


class EngineStats(Protocol):
    """The state of a process of ours. `stuck` counts those `restarts` before which it had to be killed."""

    @property
    def running(self) -> int: ...

    @property
    def rss_bytes(self) -> int: ...

    @property
    def restarts(self) -> int: ...

    @property
    def stuck(self) -> int: ...

    @property
    def up(self) -> bool: ...


@runtime_checkable
class CacheStats(Protocol):
    """The memory of a process with a cache; `cache_used_bytes` is what running requests hold."""

    @property
    def cache_bytes(self) -> int: ...

    @property
    def cache_used_bytes(self) -> int: ...


class Backends(Collector):
    """The state of each model's backends, its queue and the embedded engines, read when metrics are collected."""

    def __init__(self) -> None:
        self.pools: dict[str, Callable[[], PoolStats]] = {}
        self.engines: dict[str, Callable[[], EngineStats]] = {}

    def collect(self) -> Iterator[Metric]:
        yield from self._pools()
        yield from self._engines()

    def _engines(self) -> Iterator[Metric]:
        running, memory = family("antiphon_engine_running"), family("antiphon_engine_resident_bytes")
        cache, used = family("antiphon_engine_cache_bytes"), family("antiphon_engine_cache_used_bytes")
        restarts, stuck = family("antiphon_engine_restarts"), family("antiphon_engine_stuck")
        up = family("antiphon_engine_up")
        for name, stats in self.engines.items():
            now = stats()
            running.add_metric([name], now.running)
            memory.add_metric([name], now.rss_bytes)
            if isinstance(now, CacheStats):
                cache.add_metric([name], now.cache_bytes)
                used.add_metric([name], now.cache_used_bytes)
            restarts.add_metric([name], now.restarts)
            stuck.add_metric([name], now.stuck)
            up.add_metric([name], now.up)
        yield from (running, memory, cache, used, restarts, stuck, up)

    def _pools(self) -> Iterator[Metric]:
        outstanding, state = family("antiphon_backend_outstanding"), family("antiphon_backend_state")
        chosen, sticky = family("antiphon_backend_requests"), family("antiphon_backend_sticky")
        failed = family("antiphon_backend_failures")
        waiting, shed = family("antiphon_queue_length"), family("antiphon_queue_shed")
        retried, hedged = family("antiphon_retries"), family("antiphon_hedges")
        for model, stats in self.pools.items():
            now = stats()
            waiting.add_metric([model], now.waiting)
            shed.add_metric([model], now.shed)
            retried.add_metric([model], now.retried)
            hedged.add_metric([model], now.hedged)
            for one in now.backends:
                labels = [model, one.name]
                outstanding.add_metric(labels, one.outstanding)
                chosen.add_metric(labels, one.chosen)
                sticky.add_metric(labels, one.sticky)
                failed.add_metric(labels, one.failed)
                for each in State:
                    state.add_metric([*labels, each.value], one.state is each)
        yield from (outstanding, state, chosen, sticky, failed, waiting, shed, retried, hedged)


class ConnectionStats(Protocol):
    """The connections that are open; how many were ever refused, and how many dropped."""

    @property
    def refused(self) -> int: ...

    @property
    def dropped(self) -> int: ...

    def __len__(self) -> int: ...


class Doors(Collector):
    """The connections of a server, read when metrics are collected."""

    def __init__(self, stats: ConnectionStats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        values = {"open": len(stats), "refused": stats.refused, "dropped": stats.dropped}
        for name, value in values.items():
            metric = family(f"antiphon_connections_{name}")
            metric.add_metric([], value)
            yield metric


class Failures(Collector):
    """How often tasks of the server failed, read when metrics are collected."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        failed = family("antiphon_task_failures")
        for name, times in self._supervisor.failures.items():
            failed.add_metric([name], times)
        yield failed


class Observer:
    """The metrics and the log of calls of one server."""

    def __init__(self, objectives: Objectives, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self.objectives = objectives
        self._clock = clock
        self._backends = Backends()
        self.registry.register(self._backends)
        self.holds = LoopHolds(self.registry, clock)
        self._recent: deque[tuple[int, bool, str, object]] = deque(maxlen=RECENT)
        self._generated: deque[tuple[int, bool]] = deque()  # when, and whether in time
        self._missed = 0  # of these
        loads = self._loads = dict[str, Callable[[], Load]]()
        registry = self.registry
        registry.register(Failures(supervisor))
        counter, gauge = partial(metrics.counter, registry=registry), partial(metrics.gauge, registry=registry)
        histogram = partial(metrics.histogram, registry=registry)

        def counters(name: str) -> Callable[..., Counter]:
            """Return the counters of a name by label: prometheus_client would look them up under a lock each time."""
            return cache(counter(name).labels)

        self._ttfb = histogram("antiphon_stt_ttfb_seconds")
        self._first_word = histogram("antiphon_stt_first_word_seconds")
        self._final = histogram("antiphon_stt_final_seconds")
        self._rtf = histogram("antiphon_stt_recording_rtf")
        self._utterances = counters("antiphon_stt_utterances")

        self._ttft = histogram("antiphon_llm_ttft_seconds")
        self._tpot = histogram("antiphon_llm_tpot_seconds")
        self._total = histogram("antiphon_llm_total_seconds")
        self._generations = counters("antiphon_llm_generations")
        self._drift = counter("antiphon_llm_token_drift")

        self._first_sound = histogram("antiphon_tts_ttfb_seconds")
        self._speeches = counters("antiphon_tts_speeches")
        self._voice_to_voice = histogram("antiphon_voice_to_voice_seconds")
        self._barge_in = histogram("antiphon_barge_in_seconds")
        self._dry = counter("antiphon_tts_underruns")

        self._sessions = counters("antiphon_sessions")
        self._open = cache(gauge("antiphon_sessions_open").labels)
        self._refused = counters("antiphon_refused")
        self._metered = counters("antiphon_metered")
        self._ledger = histogram("antiphon_ledger_append_seconds")
        self._budget_alerts = counters("antiphon_budget_alerts")

        self._rows = histogram("antiphon_batch_rows")
        self._batch = histogram("antiphon_batch_seconds")
        self._batch_error = histogram("antiphon_batch_prediction_error_seconds")
        self._work = counters("antiphon_work")
        self._tokens = counters("antiphon_draft_tokens")
        self._steps = counter("antiphon_decoder_passes")
        waiting = gauge("antiphon_work_waiting")
        for kind in WorkKind:
            waiting.labels(kind.name.lower()).set_function(partial(_waiting, loads, kind.name.lower()))
        gauge("antiphon_streams_live").set_function(lambda: sum(load().live for load in loads.values()))
        share = gauge("antiphon_stream_share")
        share.set_function(lambda: max((load().stream_share for load in loads.values()), default=0.0))
        gauge("antiphon_goodput_recent").set_function(lambda: 1.0 - self.late())

    def late(self, project: str | None = None, recogniser: object = None) -> float:
        """Return the share of recent utterances (of one project, or at one recogniser) that missed an objective; 0 if
        there are fewer than `ENOUGH`.
        """
        since_ns = self._clock.now_ns() - RECENT_NS
        while self._recent and self._recent[0][0] < since_ns:
            self._recent.popleft()
        recent = [utterance for utterance in self._recent if recogniser in (None, utterance[3])]
        good = [good for _, good, whose, _ in recent if project in (None, whose)]
        return good.count(False) / len(good) if len(good) >= ENOUGH else 0.0

    def slow(self) -> float:
        """Return the share of recent generations whose tokens missed an objective; 0 if there are fewer than `FEW`."""
        since_ns = self._clock.now_ns() - RECENT_NS
        while self._generated and self._generated[0][0] < since_ns:
            self._missed -= not self._generated.popleft()[1]
        return self._missed / len(self._generated) if len(self._generated) >= FEW else 0.0

    def utterance(self, measured: Measured, project: str, recogniser: object) -> None:
        good = self.objectives.met(measured.ttfb_ms, measured.final_ms)
        self._recent.append((self._clock.now_ns(), good, project, recogniser))
        self._utterances(str(good).lower()).inc()
        self._final.observe(measured.final_ms / 1000)
        if measured.ttfb_ms is not None:
            self._ttfb.observe(measured.ttfb_ms / 1000)
        if measured.first_word_ms is not None:
            self._first_word.observe(measured.first_word_ms / 1000)

    def recording(self, took_ms: float, audio_ms: int) -> None:
        if audio_ms:
            self._rtf.observe(took_ms / audio_ms)

    def batch(self, report: BatchReport) -> None:
        self._rows.observe(len(report.kinds))
        self._batch.observe(report.took_ms / 1000)
        self._batch_error.observe(abs(report.predicted_ms - report.took_ms) / 1000)
        for kind in report.kinds:
            self._work(kind.name.lower()).inc()
        self._tokens("true").inc(report.accepted)
        self._tokens("false").inc(report.drafted - report.accepted)
        self._steps.inc(report.steps)

    def opened(self, surface: str) -> None:
        self._open(surface).inc()

    def ended(self, call: Call[object], model: str, outcome: str, charged: Mapping[Dimension, int]) -> None:
        self._open(call.surface).dec()
        self._sessions(call.surface, outcome).inc()
        who = call.principal
        log.info(
            "session ended",
            extra={
                "session": call.id,
                "project": who.project,
                "key": who.key_id,
                "surface": call.surface,
                "model": model,
                "outcome": outcome,
                "charged": charged,
            },
        )

    def refused(self, surface: str, code: str) -> None:
        self._refused(surface, code).inc()

    def generation(self, measured: MeasuredTokens) -> None:
        good = self.objectives.generation_met(measured.ttft_ms, measured.tpot_ms, measured.total_ms)
        self._generations(str(good).lower()).inc()
        self._total.observe(measured.total_ms / 1000)
        if measured.ttft_ms is None:
            return  # it says nothing of how soon tokens come
        timely = self.objectives.generation_met(measured.ttft_ms, measured.tpot_ms, 0.0)
        self._generated.append((self._clock.now_ns(), timely))
        self._missed += not timely
        if len(self._generated) > RECENT:
            self._missed -= not self._generated.popleft()[1]
        self._ttft.observe(measured.ttft_ms / 1000)
        if measured.tpot_ms is not None:
            self._tpot.observe(measured.tpot_ms / 1000)

    def metered(self, surface: str, model: str, entries: Sequence[Entry], took_ms: float) -> None:
        for entry in entries:
            if entry.quantity.amount > 0:
                self._metered(surface, model, entry.quantity.dimension).inc(entry.quantity.amount)
        self._ledger.observe(took_ms / 1000)

    def budget_alert(self, project: str, alert: Alert) -> None:
        """Count and log a threshold that a budget has reached."""
        budget = alert.budget
        self._budget_alerts(project, budget.name, str(alert.percent)).inc()
        used, amount = shown(budget.measure, alert.used), shown(budget.measure, alert.amount)
        reason = f"{budget.name}: {used} of {amount} {budget.measure.name.lower()}, {budget.window}"
        whose = budget.key or f"all of the {budget.whose}'s"
        log.warning(
            f"a budget has reached {alert.percent} %", extra={"project": project, "key": whose, "reason": reason}
        )

    def first_sound(self, ttfb_ms: float) -> None:
        """Count the time from a text to its first audio (ms), if nothing was playing."""
        self._first_sound.observe(ttfb_ms / 1000)
        self._speeches(str(ttfb_ms <= self.objectives.tts_ttfb_ms).lower()).inc()

    def answered(self, voice_to_voice_ms: float) -> None:
        """Count the time from the end of a caller's turn to the reply's first audio (ms)."""
        self._voice_to_voice.observe(voice_to_voice_ms / 1000)

    def interrupted(self, took_ms: float) -> None:
        """Count the time from a caller's speech to the end of the interrupted reply (ms)."""
        self._barge_in.observe(took_ms / 1000)

    def ran_dry(self) -> None:
        """Count audio that was sent after all audio before it had been played."""
        self._dry.inc()

    def token_drift(self, tokens: int) -> None:
        """Count by how many output tokens the engine's count and ours differ, for one generation."""
        self._drift.inc(abs(tokens))

    def watch_connections(self, stats: ConnectionStats) -> None:
        """Collect the metrics of the server's connections."""
        self.registry.register(Doors(stats))

    def watch_pool(self, name: str, stats: Callable[[], PoolStats]) -> None:
        """Collect the metrics of the pool that serves the model `name`."""
        self._backends.pools[name] = stats

    def watch_exports(self, stats: Sequence[ExportStats]) -> None:
        self.registry.register(Exports(stats, self._clock))

    def watch_jobs(self, stats: JobStats) -> None:
        """Collect the metrics of jobs that run on this server."""
        self.registry.register(Jobs(stats))

    def watch_recogniser(self, name: str, load: Callable[[], Load]) -> None:
        """Collect the metrics of a recogniser that streams are opened at."""
        self._loads[name] = load

    def watch_engine(self, name: str, stats: Callable[[], EngineStats]) -> None:
        """Collect the metrics of an engine on this machine, in its own process."""
        self._backends.engines[name] = stats

    def trouble(self) -> str | None:
        """Return which engines on this machine do not answer now; `None` if all do."""
        down = [name for name, stats in self._backends.engines.items() if not stats().up]
        return f"being started again: {', '.join(down)}" if down else None

    def render(self) -> bytes:
        return generate_latest(self.registry)

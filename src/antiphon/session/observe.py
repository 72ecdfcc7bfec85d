"""What operators see: the objectives' indicators, the scheduler, the ledger, as Prometheus metrics; the end of each
session in the log. Never content.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.usage import Dimension
from antiphon.metering.entry import Entry
from antiphon.scheduler.breaker import State
from antiphon.scheduler.policy import Kind
from antiphon.scheduler.runner import BatchReport, Load
from antiphon.session.pool import PoolStats
from antiphon.slo.measure import Measured, MeasuredTokens
from antiphon.slo.objectives import Objectives

SECONDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0)
BATCH_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5, 1.0)
TOKEN_SECONDS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
SOUND_SECONDS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
RTFS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RECENT = 200  # utterances that admission looks back on, if they are not older than
RECENT_NS = 10_000_000_000
ENOUGH = 50  # utterances to judge by


log = logging.getLogger(__name__)


class Ended(Protocol):
    """A session that has ended."""

    @property
    def id(self) -> str: ...

    @property
    def principal(self) -> Principal: ...

    @property
    def surface(self) -> str: ...


def _waiting(load: Callable[[], Load], kind: Kind) -> int:
    return load().waiting[kind]


class EngineStats(Protocol):
    """What an embedded engine takes."""

    @property
    def running(self) -> int: ...

    @property
    def rss_bytes(self) -> int: ...

    @property
    def restarts(self) -> int: ...


@runtime_checkable
class CacheStats(Protocol):
    """Of one that has a cache; `cache_used_bytes` is what running requests hold."""

    @property
    def cache_bytes(self) -> int: ...

    @property
    def cache_used_bytes(self) -> int: ...


class Backends(Collector):
    """What each model's backends, its queue and the embedded engines are at, asked when metrics are read."""

    def __init__(self) -> None:
        self.pools: dict[str, Callable[[], PoolStats]] = {}
        self.engines: dict[str, Callable[[], EngineStats]] = {}

    def collect(self) -> Iterator[Metric]:
        yield from self._pools()
        yield from self._engines()

    def _engines(self) -> Iterator[Metric]:
        engine = ["engine"]
        running = GaugeMetricFamily("antiphon_engine_running", "Requests inside an embedded engine", labels=engine)
        memory = GaugeMetricFamily("antiphon_engine_resident_bytes", "Memory of its process", labels=engine)
        cache = GaugeMetricFamily("antiphon_engine_cache_bytes", "Bound of its cache", labels=engine)
        used = GaugeMetricFamily("antiphon_engine_cache_used_bytes", "What running requests hold of it", labels=engine)
        restarts = CounterMetricFamily("antiphon_engine_restarts", "Times its process was started anew", labels=engine)
        for name, stats in self.engines.items():
            now = stats()
            running.add_metric([name], now.running)
            memory.add_metric([name], now.rss_bytes)
            if isinstance(now, CacheStats):
                cache.add_metric([name], now.cache_bytes)
                used.add_metric([name], now.cache_used_bytes)
            restarts.add_metric([name], now.restarts)
        yield from (running, memory, cache, used, restarts)

    def _pools(self) -> Iterator[Metric]:
        backend = ["model", "backend"]
        outstanding = GaugeMetricFamily("antiphon_backend_outstanding", "Requests at a backend", labels=backend)
        state = GaugeMetricFamily("antiphon_backend_state", "1 for the state it is in", labels=[*backend, "state"])
        chosen = CounterMetricFamily("antiphon_backend_requests", "Requests sent to a backend", labels=backend)
        sticky = CounterMetricFamily(
            "antiphon_backend_sticky", "Requests that went where their prefix belongs", labels=backend
        )
        failed = CounterMetricFamily("antiphon_backend_failures", "Requests a backend failed", labels=backend)
        waiting = GaugeMetricFamily("antiphon_queue_length", "Requests that wait for a backend", labels=["model"])
        shed = CounterMetricFamily("antiphon_queue_shed", "Requests refused for want of one", labels=["model"])
        retried = CounterMetricFamily("antiphon_retries", "Requests tried at another backend", labels=["model"])
        hedged = CounterMetricFamily("antiphon_hedges", "Requests sent to a second backend too", labels=["model"])
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


class Observer:
    """One per server. `load` is asked when metrics are read."""

    def __init__(self, objectives: Objectives, load: Callable[[], Load], clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self.objectives = objectives
        self._clock = clock
        self._backends = Backends()
        self.registry.register(self._backends)
        self._recent: deque[tuple[int, bool]] = deque(maxlen=RECENT)
        registry = self.registry
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        seconds = partial(histogram, buckets=SECONDS)
        batch_seconds = partial(histogram, buckets=BATCH_SECONDS)

        self._ttfb = seconds("antiphon_stt_ttfb_seconds", "Speech arrived to first interim")
        self._first_word = seconds("antiphon_stt_first_word_seconds", "Speech arrived to the right first word")
        self._final = seconds("antiphon_stt_final_seconds", "End of speech arrived to final")
        rtf = "Processing time over audio time of recordings"
        self._rtf = histogram("antiphon_stt_recording_rtf", rtf, buckets=RTFS)
        met = "by whether they met every objective"
        self._utterances = counter("antiphon_stt_utterances", f"Live utterances, {met}", ["good"])

        self._ttft = seconds("antiphon_llm_ttft_seconds", "Request received to first token sent")
        self._tpot = histogram("antiphon_llm_tpot_seconds", "Mean gap between tokens", buckets=TOKEN_SECONDS)
        self._total = seconds("antiphon_llm_total_seconds", "Request received to last token sent")
        self._generations = counter("antiphon_llm_generations", f"Generations that completed, {met}", ["good"])
        drift = "Output tokens that the engine's count and ours differ by"
        self._drift = counter("antiphon_llm_token_drift", drift)

        self._first_sound = histogram(
            "antiphon_tts_ttfb_seconds", "Text received to first sound sent", buckets=SOUND_SECONDS
        )
        self._speeches = counter(
            "antiphon_tts_speeches", "Speeches begun, by whether their first sound was in time", ["good"]
        )
        voice = "End of the caller's speech arrived to first sound of the reply sent"
        self._voice_to_voice = seconds("antiphon_voice_to_voice_seconds", voice)
        barge_in = "Caller's speech during a reply arrived to the reply's end"
        self._barge_in = batch_seconds("antiphon_barge_in_seconds", barge_in)
        self._dry = counter("antiphon_tts_underruns", "Sound that was sent after what came before it had been played")

        self._sessions = counter("antiphon_sessions", "Sessions that ended", ["surface", "outcome"])
        self._open = gauge("antiphon_sessions_open", "Sessions open now", ["surface"])
        self._refused = counter("antiphon_refused", "Calls refused before a session", ["surface", "code"])
        what = "Metered, in the unit of the dimension"
        self._metered = counter("antiphon_metered", what, ["surface", "model", "dimension"])
        self._ledger = batch_seconds("antiphon_ledger_append_seconds", "Until entries are durable")

        self._rows = histogram("antiphon_batch_rows", "Rows in an engine call", buckets=(1, 2, 4, 8, 12, 16, 32))
        self._batch = batch_seconds("antiphon_batch_seconds", "Engine call")
        error = "Predicted minus taken, absolute"
        self._batch_error = batch_seconds("antiphon_batch_prediction_error_seconds", error)
        self._work = counter("antiphon_work", "Pieces of decoding done", ["kind"])
        self._tokens = counter("antiphon_draft_tokens", "Draft tokens", ["accepted"])
        self._steps = counter("antiphon_decoder_passes", "Decoder passes, rows summed")
        waiting = gauge("antiphon_work_waiting", "Pieces of decoding that wait", ["kind"])
        for kind in Kind:
            waiting.labels(kind.name.lower()).set_function(partial(_waiting, load, kind))
        gauge("antiphon_streams_live", "Live channels open").set_function(lambda: load().live)
        share = gauge("antiphon_stream_share", "Part of one worker a live channel takes")
        share.set_function(lambda: load().stream_share)
        recent = gauge("antiphon_goodput_recent", "Good share of the last utterances")
        recent.set_function(lambda: 1.0 - self.late())

    def late(self) -> float:
        """Share of the recent utterances that missed an objective; 0 while there are too few to say."""
        since_ns = self._clock.now_ns() - RECENT_NS
        while self._recent and self._recent[0][0] < since_ns:
            self._recent.popleft()
        late = sum(not good for _, good in self._recent)
        return late / len(self._recent) if len(self._recent) >= ENOUGH else 0.0

    def utterance(self, measured: Measured) -> None:
        good = self.objectives.met(measured.ttfb_ms, measured.final_ms)
        self._recent.append((self._clock.now_ns(), good))
        self._utterances.labels(str(good).lower()).inc()
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
            self._work.labels(kind.name.lower()).inc()
        self._tokens.labels("true").inc(report.accepted)
        self._tokens.labels("false").inc(report.drafted - report.accepted)
        self._steps.inc(report.steps)

    def opened(self, surface: str) -> None:
        self._open.labels(surface).inc()

    def ended(self, session: Ended, model: str, outcome: str, charged: Mapping[Dimension, int]) -> None:
        self._open.labels(session.surface).dec()
        self._sessions.labels(session.surface, outcome).inc()
        who = session.principal
        log.info(
            "session ended",
            extra={
                "session": session.id,
                "project": who.project,
                "key": who.key_id,
                "surface": session.surface,
                "model": model,
                "outcome": outcome,
                "charged": charged,
            },
        )

    def refused(self, surface: str, code: str) -> None:
        self._refused.labels(surface, code).inc()

    def generation(self, measured: MeasuredTokens) -> None:
        good = self.objectives.generation_met(measured.ttft_ms, measured.tpot_ms, measured.total_ms)
        self._generations.labels(str(good).lower()).inc()
        self._ttft.observe(measured.ttft_ms / 1000)
        self._total.observe(measured.total_ms / 1000)
        if measured.tpot_ms is not None:
            self._tpot.observe(measured.tpot_ms / 1000)

    def metered(self, surface: str, model: str, entries: Sequence[Entry], took_ms: float) -> None:
        for entry in entries:
            if entry.quantity.amount > 0:
                self._metered.labels(surface, model, entry.quantity.dimension).inc(entry.quantity.amount)
        self._ledger.observe(took_ms / 1000)

    def first_sound(self, ttfb_ms: float) -> None:
        """From text to sound, where nothing was playing."""
        self._first_sound.observe(ttfb_ms / 1000)
        self._speeches.labels(str(ttfb_ms <= self.objectives.tts_ttfb_ms).lower()).inc()

    def answered(self, voice_to_voice_ms: float) -> None:
        """A turn of a conversation, aloud."""
        self._voice_to_voice.observe(voice_to_voice_ms / 1000)

    def interrupted(self, took_ms: float) -> None:
        """A reply, by the caller's speech."""
        self._barge_in.observe(took_ms / 1000)

    def ran_dry(self) -> None:
        """A speech had a hole in it that its text has not."""
        self._dry.inc()

    def token_drift(self, tokens: int) -> None:
        """By how many output tokens the engine's count and ours differ, for one generation."""
        self._drift.inc(abs(tokens))

    def watch_pool(self, name: str, stats: Callable[[], PoolStats]) -> None:
        """The pool that serves the model `name`."""
        self._backends.pools[name] = stats

    def watch_engine(self, name: str, stats: Callable[[], EngineStats]) -> None:
        """An engine on this machine, in a process of its own."""
        self._backends.engines[name] = stats

    def render(self) -> bytes:
        return generate_latest(self.registry)

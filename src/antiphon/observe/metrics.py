"""Every metric of the server in one table, from which the collectors and the reference, `docs/metrics.md`, are made.
The names of counters lack `_total`, which Prometheus adds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from antiphon.core.usage import Dimension

SECONDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0)
BATCH_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.2, 0.5, 1.0)
TOKEN_SECONDS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
SOUND_SECONDS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
HOLD_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
RTFS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 32.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, type, unit, labels, help text, and the buckets of a histogram."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> str:
        """The name for queries. A histogram has `_bucket`, `_sum` and `_count` of it."""
        return f"{self.name}_total" if self.type == "counter" else self.name


TABLE: dict[str, tuple[Metric, ...]] = {
    "Speech recognition": (
        Metric(
            *("antiphon_stt_ttfb_seconds", "histogram", "seconds", ()),
            "From the arrival of an utterance's first sample to its first interim result",
            SECONDS,
        ),
        Metric(
            *("antiphon_stt_first_word_seconds", "histogram", "seconds", ()),
            "From the arrival of an utterance's first sample to the first interim with the first word of the final",
            SECONDS,
        ),
        Metric(
            *("antiphon_stt_final_seconds", "histogram", "seconds", ()),
            "From the arrival of an utterance's last sample to its final result",
            SECONDS,
        ),
        Metric(
            *("antiphon_stt_recording_rtf", "histogram", "ratio", ()),
            "Processing time divided by audio time, of each recording",
            RTFS,
        ),
        Metric(
            *("antiphon_stt_utterances", "counter", "utterances", ("good",)),
            "Live utterances, by whether they met every objective",
        ),
        Metric("antiphon_streams_live", "gauge", "channels", (), "Live audio channels that are open"),
        Metric(
            *("antiphon_stream_share", "gauge", "ratio", ()),
            "The part of one worker that one live channel takes, as the scheduler estimates it",
        ),
        Metric("antiphon_work_waiting", "gauge", "work items", ("kind",), "Work items that wait for the recogniser"),
        Metric("antiphon_work", "counter", "work items", ("kind",), "Work items that the recogniser has done"),
        Metric("antiphon_batch_rows", "histogram", "rows", (), "Rows in one batch of the recogniser", ROWS),
        Metric(
            *("antiphon_batch_seconds", "histogram", "seconds", ()),
            "How long one batch of the recogniser took",
            BATCH_SECONDS,
        ),
        Metric(
            *("antiphon_batch_prediction_error_seconds", "histogram", "seconds", ()),
            "Absolute difference between the predicted and the measured time of a batch",
            BATCH_SECONDS,
        ),
        Metric(
            *("antiphon_draft_tokens", "counter", "tokens", ("accepted",)),
            "Draft tokens of speculative decoding, by whether they were accepted",
        ),
        Metric(
            *("antiphon_decoder_passes", "counter", "passes", ()),
            "Decoder passes, summed over the rows of all batches",
        ),
    ),
    "Language models": (
        Metric(
            *("antiphon_llm_ttft_seconds", "histogram", "seconds", ()),
            "Time to first token: from the request to the first token sent",
            SECONDS,
        ),
        Metric(
            *("antiphon_llm_tpot_seconds", "histogram", "seconds", ()),
            "Time per output token: the mean gap between the tokens of a generation after the first",
            TOKEN_SECONDS,
        ),
        Metric(
            *("antiphon_llm_total_seconds", "histogram", "seconds", ()),
            "From the request to the last token sent",
            SECONDS,
        ),
        Metric(
            *("antiphon_llm_generations", "counter", "generations", ("good",)),
            "Completed generations, by whether they met every objective",
        ),
        Metric(
            *("antiphon_llm_token_drift", "counter", "tokens", ()),
            "Absolute difference between the engine's count of output tokens and the server's, summed over generations",
        ),
        Metric(
            *("antiphon_queue_length", "gauge", "requests", ("model",)),
            "Requests that wait for a backend of the model",
        ),
        Metric(
            *("antiphon_queue_shed", "counter", "requests", ("model",)),
            "Requests refused because too many waited, or would have waited too long",
        ),
        Metric("antiphon_retries", "counter", "requests", ("model",), "Requests sent again, to another backend"),
        Metric("antiphon_hedges", "counter", "requests", ("model",), "Requests also sent to a second backend"),
        Metric(
            *("antiphon_backend_outstanding", "gauge", "requests", ("model", "backend")),
            "Requests in progress at a backend",
        ),
        Metric(
            *("antiphon_backend_state", "gauge", "0 or 1", ("model", "backend", "state")),
            "1 for the state that the circuit breaker of a backend is in, 0 for the others",
        ),
        Metric("antiphon_backend_requests", "counter", "requests", ("model", "backend"), "Requests sent to a backend"),
        Metric(
            *("antiphon_backend_sticky", "counter", "requests", ("model", "backend")),
            "Requests sent to the backend that holds the cache of their prefix",
        ),
        Metric(
            *("antiphon_backend_failures", "counter", "requests", ("model", "backend")),
            "Requests that a backend failed",
        ),
    ),
    "Voices and conversations": (
        Metric(
            *("antiphon_tts_ttfb_seconds", "histogram", "seconds", ()),
            "From the arrival of a text to its first audio sent, where nothing was playing",
            SOUND_SECONDS,
        ),
        Metric(
            *("antiphon_tts_speeches", "counter", "speeches", ("good",)),
            "Speeches that began, by whether their first audio met the objective",
        ),
        Metric(
            *("antiphon_tts_underruns", "counter", "pieces of audio", ()),
            "Pieces of audio sent after all audio before them had been played",
        ),
        Metric(
            *("antiphon_voice_to_voice_seconds", "histogram", "seconds", ()),
            "From the arrival of the last sample of a caller's speech to the first audio of the reply sent",
            SECONDS,
        ),
        Metric(
            *("antiphon_barge_in_seconds", "histogram", "seconds", ()),
            "From the arrival of a caller's speech during a reply to the end of that reply",
            BATCH_SECONDS,
        ),
    ),
    "Sessions and metering": (
        Metric("antiphon_sessions_open", "gauge", "sessions", ("surface",), "Sessions that are open"),
        Metric("antiphon_sessions", "counter", "sessions", ("surface", "outcome"), "Sessions that have ended"),
        Metric(
            *("antiphon_refused", "counter", "calls", ("surface", "code")),
            "Calls refused before a session was opened",
        ),
        Metric(
            *("antiphon_goodput_recent", "gauge", "ratio", ()),
            "Share of the last 200 live utterances, of the last ten seconds at most, that met every objective; 1 where "
            "there were fewer than 50",
        ),
        Metric(
            *("antiphon_metered", "counter", "the dimension's", ("surface", "model", "dimension")),
            "Usage that was charged, in the unit that the dimension names",
        ),
        Metric(
            *("antiphon_budget_alerts", "counter", "alerts", ("project", "budget", "percent")),
            "Thresholds of budgets that were reached, each counted once in a window",
        ),
        Metric(
            *("antiphon_ledger_append_seconds", "histogram", "seconds", ()),
            "How long entries took to become durable in the ledger",
            BATCH_SECONDS,
        ),
    ),
    "Jobs": (
        Metric("antiphon_jobs_running", "gauge", "jobs", (), "Jobs that run on this server"),
        Metric("antiphon_jobs", "counter", "jobs", ("job", "end"), "Jobs that have ended on this server"),
        Metric("antiphon_items_running", "gauge", "items", (), "Items of jobs that are being answered"),
        Metric(
            *("antiphon_items", "counter", "items", ("job", "good")),
            "Items of jobs whose outcome is recorded, by whether they were answered well",
        ),
        Metric(
            *("antiphon_items_gave_way", "counter", "items", ()),
            "Times an item was stopped, uncharged, because interactive calls needed its place",
        ),
    ),
    "Exports": (
        Metric(
            *("antiphon_export_attempts", "counter", "attempts", ("target", "result")),
            "Batches sent to a receiver of usage, by what became of it",
        ),
        Metric(
            *("antiphon_export_position", "gauge", "position", ("target",)),
            "Position in the ledger up to which usage is in batches",
        ),
        Metric("antiphon_export_waiting", "gauge", "batches", ("target",), "Batches that wait to be sent"),
        Metric(
            *("antiphon_export_oldest_seconds", "gauge", "seconds", ("target",)),
            "Age of the oldest usage that waits to be sent; 0 if none does",
        ),
        Metric(
            *("antiphon_export_gaps", "gauge", "batches", ("target", "gap")),
            "Batches that are not exported, until a person settles them",
        ),
    ),
    "Processes and connections": (
        Metric("antiphon_engine_up", "gauge", "0 or 1", ("engine",), "Whether the process of an engine answers"),
        Metric("antiphon_engine_running", "gauge", "requests", ("engine",), "Requests in progress in the process"),
        Metric("antiphon_engine_resident_bytes", "gauge", "bytes", ("engine",), "Resident memory of the process"),
        Metric(
            *("antiphon_engine_cache_bytes", "gauge", "bytes", ("engine",)),
            "Size of the key-value cache, if it has one",
        ),
        Metric(
            *("antiphon_engine_cache_used_bytes", "gauge", "bytes", ("engine",)),
            "The part of the key-value cache that running requests hold",
        ),
        Metric("antiphon_engine_restarts", "counter", "restarts", ("engine",), "Times the process was started again"),
        Metric(
            *("antiphon_engine_stuck", "counter", "restarts", ("engine",)),
            "Restarts before which the process was killed because it was stuck",
        ),
        Metric(
            *("antiphon_task_failures", "counter", "failures", ("task",)),
            "Times a permanent task of the server failed and was started again",
        ),
        Metric("antiphon_connections_open", "gauge", "connections", (), "Connections that are open"),
        Metric(
            *("antiphon_connections_refused", "counter", "connections", ()),
            "Connections refused because there were too many",
        ),
        Metric(
            *("antiphon_connections_dropped", "counter", "connections", ()),
            "Idle connections closed to make room for new ones",
        ),
        Metric(
            *("antiphon_event_loop_hold_seconds", "histogram", "seconds", ()),
            "How late a timer of the event loop fired, measured twenty times a second",
            HOLD_SECONDS,
        ),
        Metric(
            *("antiphon_event_loop_hold_longest_seconds", "gauge", "seconds", ()),
            "The longest such delay of the last one to two minutes",
        ),
    ),
}

LABELS = {
    "accepted": "`true` or `false`",
    "budget": "the name of a budget of the project's policy",
    "backend": "the name of an `[engines]` table that serves the model",
    "code": "the error's code, such as `unauthenticated`, `over_capacity` or `model_not_found`",
    "dimension": ", ".join(f"`{dimension}`" for dimension in Dimension),
    "engine": "the name of an `[engines]` table that runs in a process of its own, or `audio-decoder`",
    "end": "`done`, `failed`, `cancelled` or `expired`",
    "gap": "`refused` (the receiver does not take it) or `unknown` (it may have been taken)",
    "good": "`true` or `false`",
    "job": "the kind of job: `openai.batch`, `assemblyai.transcript`, `elevenlabs.transcript`, "
    "`google.batch_recognize` or `google.long_running_recognize`",
    "kind": "`final`, `first` (the first interim of an utterance), `refresh` (a later interim) or `recording`",
    "model": "the version of a model that answered, as the configuration names it",
    "percent": "`50`, `80` or `100`",
    "project": "the id of a project",
    "outcome": "`completed`, `abandoned` (the caller left), or the code of the error that ended the session",
    "result": "`taken`, `later` (to be sent again), `refused` or `unanswered`",
    "state": "`closed` (healthy), `open` (excluded) or `half_open` (tried again)",
    "surface": "the vendor whose API was called: `amazon`, `assemblyai`, `deepgram`, `elevenlabs`, `google`, `openai` "
    "or `open-inference`",
    "target": "the name of an `[export]` table",
    "task": "the name of the task",
}

METRICS = {metric.name: metric for group in TABLE.values() for metric in group}


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """Make the counter of that name."""
    metric = METRICS[name]
    return Counter(name, metric.help, metric.labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """Make the gauge of that name."""
    metric = METRICS[name]
    return Gauge(name, metric.help, metric.labels, registry=registry)


def histogram(name: str, registry: CollectorRegistry) -> Histogram:
    """Make the histogram of that name."""
    metric = METRICS[name]
    return Histogram(name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)


def family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    """Make the metric of that name: a counter or a gauge whose values are read when it is collected."""
    metric = METRICS[name]
    made = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    return made(name, metric.help, labels=metric.labels)


def reference() -> str:
    """Return the reference of all metrics, in Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "`/metrics` serves these in Prometheus' text format. None of them holds content or anything of a caller."
    yield "This page is made from `src/antiphon/observe/metrics.py` by `make docs`; do not edit it."
    yield ""
    yield "A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`. Counters and histograms also have a series"
    yield "that ends in `_created`, the time at which they began. All begin at zero when the server starts."
    for title, group in TABLE.items():
        yield from ("", f"## {title}", "", "| name | type | unit | labels | what it says |", "|---|---|---|---|---|")
        for metric in group:
            labels = ", ".join(f"`{label}`" for label in metric.labels)
            yield f"| `{metric.series}` | {metric.type} | {metric.unit} | {labels} | {metric.help} |"
    yield from ("", "## Labels", "", "| label | values |", "|---|---|")
    for label, values in LABELS.items():
        yield f"| `{label}` | {values} |"

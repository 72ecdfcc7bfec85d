"""Statistics of what the client received for what it sent, with the definitions of the objectives. Pure.

Every time is measured from the scheduled sending of a chunk, so a late generator counts against the server, and no
request is omitted because an earlier one was slow. A result belongs to an utterance if their windows overlap.

- TTFB: from the chunk with the first sample of speech to the first non-empty result of the utterance.
- First word: the same, to the first result that begins with the first word of the utterance's first final.
- Final: from the chunk with the last sample of speech to the final that covers the end of the speech.
- Goodput: the share of utterances within both objectives. An utterance without a final is lost, and counts as missed;
  it is not in the percentiles, so read them together with the number lost.
- WER: Levenshtein over normalised words, of clips that were played to their end; a final's text belongs to the clip
  that it overlaps most.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from antiphon.bench.schedule import Plan, Play
from antiphon.bench.speech import Span
from antiphon.core.text import plain
from antiphon.core.units import NS_PER_MS

TTFB_OBJECTIVE_MS = 300
FINAL_OBJECTIVE_MS = 800
# A final covers the end of the speech if it ends at most this much before: detectors differ on where speech ends.
COVER_TOLERANCE_SAMPLES = 4_000


@dataclass(frozen=True, slots=True)
class TimedResult:
    """A result: its arrival, from the start of the level, and the samples of the stream that it covers."""

    at_ns: int
    window: Span
    final: bool
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One utterance's latencies in milliseconds, `None` if the result never came."""

    ttfb_ms: float | None
    first_word_ms: float | None
    final_ms: float | None

    @property
    def lost(self) -> bool:
        return self.final_ms is None

    @property
    def good(self) -> bool:
        return (
            self.ttfb_ms is not None
            and self.ttfb_ms <= TTFB_OBJECTIVE_MS
            and self.final_ms is not None
            and self.final_ms <= FINAL_OBJECTIVE_MS
        )


@dataclass(frozen=True, slots=True)
class Errors:
    """Word errors, and the number of reference words."""

    errors: int = 0
    words: int = 0

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(self.errors + other.errors, self.words + other.words)

    @property
    def rate(self) -> float | None:
        return self.errors / self.words if self.words else None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles in milliseconds; `None` if nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None


# -- latencies ---------------------------------------------------------------------------------------------------------


def verdicts(plan: Plan, results: Sequence[TimedResult]) -> list[Verdict]:
    """Return one verdict for each judged utterance of the plan. `results` are in the order of arrival."""
    spans = (span for play in plan.plays for span in play.utterances())
    return [_verdict(plan, span, results) for span in spans if plan.judged(span)]


def _verdict(plan: Plan, span: Span, results: Sequence[TimedResult]) -> Verdict:
    mine = [result for result in results if result.window.overlap(span) > 0]
    spoken = [result for result in mine if result.text.strip()]
    finals = [result for result in spoken if result.final]
    onset_ns, end_ns = plan.sent_ns(span.start), plan.sent_ns(span.end - 1)
    if not finals:
        return Verdict(_elapsed(onset_ns, spoken), None, None)
    first = _first_word(finals[0].text)
    return Verdict(
        ttfb_ms=_elapsed(onset_ns, spoken),
        first_word_ms=_elapsed(onset_ns, [result for result in spoken if _first_word(result.text) == first]),
        final_ms=_elapsed(end_ns, [result for result in mine if result.final and _covers(result, span)]),
    )


def _covers(result: TimedResult, span: Span) -> bool:
    return result.window.end + COVER_TOLERANCE_SAMPLES >= span.end


def _elapsed(since_ns: int, results: Sequence[TimedResult]) -> float | None:
    return (results[0].at_ns - since_ns) / NS_PER_MS if results else None


def _first_word(text: str) -> str:
    return next(iter(words(text)), "")


def percentiles(values: Iterable[float | None]) -> Percentiles:
    """Return percentiles by the nearest rank: always a value that was measured."""
    ranked = sorted(value for value in values if value is not None)

    def rank(share: float) -> float | None:
        return round(ranked[math.ceil(share * len(ranked)) - 1], 1) if ranked else None

    return Percentiles(rank(0.50), rank(0.95), rank(0.99))


# -- words -------------------------------------------------------------------------------------------------------------


def transcript_errors(plan: Plan, results: Sequence[TimedResult]) -> Errors:
    """Return the word errors of every clip with a reference that was played to its end."""
    texts: dict[int, list[str]] = {index: [] for index in range(len(plan.plays))}
    for result in results:
        if result.final and result.text.strip():
            texts[_nearest(plan.plays, result.window)].append(result.text)
    return sum(
        (
            word_errors(play.clip.reference, " ".join(texts[index]))
            for index, play in enumerate(plan.plays)
            if play.clip.reference is not None and play.start >= 0 and plan.judged(play.utterances()[-1])
        ),
        Errors(),
    )


def _nearest(plays: Sequence[Play], window: Span) -> int:
    return max(range(len(plays)), key=lambda index: plays[index].window.overlap(window))


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Return the word errors (Levenshtein): substitutions, deletions and insertions."""
    expected, got = words(reference), words(hypothesis)
    row = list(range(len(got) + 1))
    for i, word in enumerate(expected, start=1):
        previous, row = row, [i]
        for j, other in enumerate(got, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (word != other)))
    return Errors(row[-1], len(expected))


_TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def words(text: str) -> list[str]:
    """Return words to compare: lower case, no punctuation or apostrophes, hyphens as spaces, titles and numbers
    spelled.
    """
    bare = re.sub(r"(?<=\d),(?=\d{3})", "", plain(text)).replace("'", "").replace("-", " ")
    return [part for word in bare.split() for part in _spelled(word)]


def _spelled(word: str) -> list[str]:
    if word in _TITLES:
        return [_TITLES[word]]
    if word.isascii() and word.isdigit() and len(word) <= 9:
        return _number(int(word))
    return [word]


def _number(value: int) -> list[str]:
    """Return an English cardinal below a thousand million, without `and`."""
    if value < 20:
        return [_ONES[value]]
    if value < 100:
        tens, ones = divmod(value, 10)
        return [_TENS[tens], *([_ONES[ones]] if ones else [])]
    size, name = next((s, n) for s, n in ((10**6, "million"), (10**3, "thousand"), (100, "hundred")) if value >= s)
    high, low = divmod(value, size)
    return [*_number(high), name, *(_number(low) if low else [])]


# -- a level -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Level:
    """All measurements with one number of streams.

    `refused` streams were refused at the handshake and are in no other figure; `failed` ones broke, and their remaining
    utterances are lost. `lag` is the longest time from a stream's first chunk to its last result, over the length of
    its audio: near 1.0 for a server that keeps up. `late_ms_p99` is how late the generator itself sent. The server's
    figures are there if its process was given: `server_rtf` is its CPU time over the audio's length.
    """

    streams: int
    refused: int
    failed: int
    utterances: int
    lost: int
    ttfb: Percentiles
    first_word: Percentiles
    final: Percentiles
    goodput: float | None
    wer: float | None
    reference_words: int
    speech_share: float
    lag: float | None
    client_cpu_percent: float
    late_ms_p99: float | None
    server_cpu_percent: float | None = None
    server_rtf: float | None = None
    server_rss_mb: float | None = None
    server_mb_per_stream: float | None = None
    failures: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """The results of one admitted stream. `last_ns` is when its last result came, from the start of the level."""

    plan: Plan
    results: Sequence[TimedResult]
    failure: str | None = None
    late_ms: Sequence[float] = ()

    @property
    def last_ns(self) -> int:
        return self.results[-1].at_ns if self.results else 0


@dataclass(frozen=True, slots=True)
class Load:
    """The resources that the processes used in a level. `before_rss` is the server's memory before the first stream."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float | None = None
    server_rss: int | None = None
    before_rss: int | None = None


def level(streams: Sequence[Stream], refused: int, load: Load) -> Level:
    """Sum a level up."""
    judged = [verdict for stream in streams for verdict in verdicts(stream.plan, stream.results)]
    errors = sum((transcript_errors(stream.plan, stream.results) for stream in streams), Errors())
    audio_ns = [stream.plan.chunks * stream.plan.chunk_ns for stream in streams]
    failures = Counter(stream.failure for stream in streams if stream.failure is not None)
    speech = sum(_speech_samples(stream.plan) for stream in streams)
    return Level(
        streams=len(streams) + refused,
        refused=refused,
        failed=failures.total(),
        utterances=len(judged),
        lost=sum(verdict.lost for verdict in judged),
        ttfb=percentiles(verdict.ttfb_ms for verdict in judged),
        first_word=percentiles(verdict.first_word_ms for verdict in judged),
        final=percentiles(verdict.final_ms for verdict in judged),
        goodput=_round(sum(verdict.good for verdict in judged) / len(judged) if judged else None, 4),
        wer=_round(errors.rate, 4),
        reference_words=errors.words,
        speech_share=round(speech / max(sum(stream.plan.samples for stream in streams), 1), 3),
        lag=_round(
            max((s.last_ns / ns for s, ns in zip(streams, audio_ns, strict=True) if s.results), default=None), 3
        ),
        client_cpu_percent=round(100 * load.client_cpu_s / load.wall_s, 1),
        late_ms_p99=percentiles(ms for stream in streams for ms in stream.late_ms).p99,
        server_cpu_percent=_round(_ratio(load.server_cpu_s, load.wall_s / 100), 1),
        server_rtf=_round(_ratio(load.server_cpu_s, sum(audio_ns) / 1e9), 5),
        server_rss_mb=_round(_ratio(load.server_rss, 1e6), 1),
        server_mb_per_stream=_round(_growth_mb(load, len(streams)), 2),
        failures=dict(failures) or None,
    )


def _speech_samples(plan: Plan) -> int:
    """Return the samples of the stream that are in a clip, without the gaps."""
    return sum(
        max(Span(0, plan.samples).overlap(Span(play.start, play.start + play.clip.samples)), 0) for play in plan.plays
    )


def _growth_mb(load: Load, streams: int) -> float | None:
    if load.server_rss is None or load.before_rss is None or not streams:
        return None
    return (load.server_rss - load.before_rss) / 1e6 / streams


def _ratio(value: float | None, by: float) -> float | None:
    return None if value is None or not by else value / by


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)

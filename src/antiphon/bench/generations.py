"""Statistics of language calls, with the definitions of the objectives. Pure.

Every time is measured from when a request was due, so in an open loop a late generator counts against the server, and
no request is omitted because an earlier one was slow. In a closed loop a request is due when it is sent.

- TTFT: from then to the first token, of streams only; a chunk with only the role does not count.
- TPOT: from the first token to the last, over the tokens after the first.
- Total: from when it was due to the last token, or to the whole answer if it was not streamed.
- Tokens are the server's own count if it reports usage, else the deltas that came.
- Goodput: the share of all requests, refused and failed ones included, that meet every objective.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.bench.measure import Load, Percentiles, percentiles
from antiphon.core.units import NS_PER_MS


@dataclass(frozen=True, slots=True)
class Objectives:
    """Thresholds in milliseconds."""

    ttft_ms: int = 500
    tpot_ms: int = 15
    total_ms: int = 2_000


OBJECTIVES = Objectives()


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request ended; times are from the start of the level. `reported` is the server's count of output tokens.
    `refused` means lack of capacity; `failure` is any other reason for no whole answer.
    """

    due_ns: int
    sent_ns: int
    last_ns: int
    first_ns: int | None = None
    deltas: int = 0
    reported: int | None = None
    input_tokens: int | None = None
    refused: bool = False
    failure: str | None = None

    @property
    def whole(self) -> bool:
        return not self.refused and self.failure is None

    @property
    def tokens(self) -> int:
        return self.deltas if self.reported is None else self.reported

    @property
    def ttft_ms(self) -> float | None:
        return None if self.first_ns is None else (self.first_ns - self.due_ns) / NS_PER_MS

    @property
    def tpot_ms(self) -> float | None:
        if self.first_ns is None or self.tokens < 2:
            return None
        return (self.last_ns - self.first_ns) / (self.tokens - 1) / NS_PER_MS

    @property
    def total_ms(self) -> float:
        return (self.last_ns - self.due_ns) / NS_PER_MS

    def good(self, objectives: Objectives) -> bool:
        """Return whether it meets every objective. Objectives of missing times do not apply."""
        ttft_ms, tpot_ms = self.ttft_ms, self.tpot_ms
        return (
            self.whole
            and (ttft_ms is None or ttft_ms <= objectives.ttft_ms)
            and (tpot_ms is None or tpot_ms <= objectives.tpot_ms)
            and self.total_ms <= objectives.total_ms
        )


@dataclass(frozen=True, slots=True)
class ChatLevel:
    """All measurements with one number of requests at once (`concurrency`), or one `rate` of arrivals per second.

    Rates are of whole answers, from the start to the end of the last. `reported` says whether the server counted the
    tokens of every whole answer. `late_ms_p99` is how late the generator itself sent. The server's figures are there if
    its process was given; `server_rss_mb` is its peak.
    """

    concurrency: int | None
    rate: float | None
    requests: int
    refused: int
    failed: int
    ttft: Percentiles
    tpot: Percentiles
    total: Percentiles
    goodput: float | None
    good_per_s: float
    requests_per_s: float
    tokens: int
    tokens_per_s: float
    input_tokens: int
    reported: bool
    wall_s: float
    client_cpu_percent: float
    late_ms_p99: float | None
    server_cpu_percent: float | None = None
    server_rss_mb: float | None = None
    failures: dict[str, int] | None = None

    @property
    def load(self) -> float:
        """The horizontal axis of its plot."""
        return self.concurrency if self.concurrency is not None else self.rate or 0


def level(
    answers: Sequence[Answer], load: Load, objectives: Objectives, *, concurrency: int | None, rate: float | None
) -> ChatLevel:
    """Sum a level up. `load.wall_s` must be above zero."""
    whole = [answer for answer in answers if answer.whole]
    failures = Counter(answer.failure for answer in answers if answer.failure is not None)
    good = sum(answer.good(objectives) for answer in answers)
    tokens = sum(answer.tokens for answer in whole)
    return ChatLevel(
        concurrency=concurrency,
        rate=rate,
        requests=len(answers),
        refused=sum(answer.refused for answer in answers),
        failed=failures.total(),
        ttft=percentiles(answer.ttft_ms for answer in whole),
        tpot=percentiles(answer.tpot_ms for answer in whole),
        total=percentiles(answer.total_ms for answer in whole),
        goodput=round(good / len(answers), 4) if answers else None,
        good_per_s=round(good / load.wall_s, 3),
        requests_per_s=round(len(whole) / load.wall_s, 3),
        tokens=tokens,
        tokens_per_s=round(tokens / load.wall_s, 1),
        input_tokens=sum(answer.input_tokens or 0 for answer in whole),
        reported=bool(whole) and all(answer.reported is not None for answer in whole),
        wall_s=round(load.wall_s, 3),
        client_cpu_percent=round(100 * load.client_cpu_s / load.wall_s, 1),
        late_ms_p99=percentiles((answer.sent_ns - answer.due_ns) / NS_PER_MS for answer in answers).p99,
        server_cpu_percent=None if load.server_cpu_s is None else round(100 * load.server_cpu_s / load.wall_s, 1),
        server_rss_mb=None if load.server_rss is None else round(load.server_rss / 1e6, 1),
        failures=dict(failures) or None,
    )

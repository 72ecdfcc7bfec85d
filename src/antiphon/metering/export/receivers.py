"""What every receiver of usage has: how its requests look, what its answers mean, and its limits. Pure.

Receivers differ by file: `stripe.py`, `cloudevents.py` (OpenMeter), `webhook.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from antiphon.core.exports import Batch, UsageEvent

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`events` in one request and `at_once` requests at most; no event that is older than `past_ms`; an identifier that
    comes again is known for `memory_ms`. After a failure there is a pause of `first_pause_ms`, doubled up to
    `longest_pause_ms`.
    """

    events: int
    at_once: int
    past_ms: int
    memory_ms: int
    first_pause_ms: int = 1000
    longest_pause_ms: int = 300_000


@dataclass(frozen=True, slots=True)
class Request:
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # that of a POST; a GET without one


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names are in lower case. `body` is cut where it is long."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Verdict(StrEnum):
    TAKEN = "taken"
    LATER = "later"  # send it again
    REFUSED = "refused"  # it will never be taken as it is


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer says of a batch. One that says `LATER` may be in doubt: it was taken, or it was not."""

    verdict: Verdict
    reason: str = ""
    doubtful: bool = False
    retry_after_ms: int = 0


class Receiver(Protocol):
    """One `[export.NAME]`."""

    @property
    def limits(self) -> Limits: ...

    def skips(self, project: str) -> bool:
        """Whether nothing of this project is exported, by its mapping."""

    def refusal(self, event: UsageEvent) -> str | None:
        """Why it cannot be sent; `None` if it can."""

    def lane(self, event: UsageEvent) -> str:
        """What is sent one after the other: events of one lane."""

    def body(self, events: Sequence[UsageEvent]) -> bytes: ...

    def request(self, batch: Batch, now_unix_ms: int) -> Request: ...

    def judge(self, answer: Answer) -> Judgement: ...


_TOO_MANY = 429
_CREDENTIAL = frozenset({401, 403, 407})  # says nothing about the batch, which waits until it is set right
_AGAIN = frozenset({408, 409, 425})


def judge(answer: Answer) -> Judgement:
    """What an answer says by its status alone."""
    status, reason = answer.status, f"status {answer.status}"
    if 200 <= status < 300:
        return Judgement(Verdict.TAKEN)
    if status == _TOO_MANY:
        return Judgement(Verdict.LATER, reason, retry_after_ms=retry_after_ms(answer))
    if status in _CREDENTIAL or 300 <= status < 400:
        return Judgement(Verdict.LATER, f"{reason}: check the address and the credential")
    if status in _AGAIN or status >= 500:
        return Judgement(Verdict.LATER, reason, doubtful=True, retry_after_ms=retry_after_ms(answer))
    return Judgement(Verdict.REFUSED, reason)


def retry_after_ms(answer: Answer) -> int:
    """What the answer asks for, in whole seconds; 0 where it says nothing that makes sense."""
    text = answer.headers.get("retry-after", "")
    return min(int(text) * 1000, HOUR_MS) if text.isascii() and text.isdigit() and len(text) < 10 else 0

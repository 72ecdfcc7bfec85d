"""The common part of all receivers of usage: the form of requests, the meaning of answers, and the limits. Pure.

Each kind of receiver has its own file: `stripe.py`, `cloudevents.py` (OpenMeter), `webhook.py`.
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
    """The limits of a receiver: at most `events` in a request, at most `at_once` requests, no event older than
    `past_ms`; a repeated identifier is recognised for `memory_ms`. After a failure there is a pause of
    `first_pause_ms`, doubled each time up to `longest_pause_ms`.
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
    body: bytes | None = None  # with a body it is a POST, else a GET


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. Header names are in lower case. A long `body` is cut off."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Verdict(StrEnum):
    TAKEN = "taken"
    LATER = "later"  # send it again
    REFUSED = "refused"  # it will never be accepted unchanged


@dataclass(frozen=True, slots=True)
class Judgement:
    """The meaning of an answer for a batch. With `LATER` it may be `doubtful`: the batch was accepted or not."""

    verdict: Verdict
    reason: str = ""
    doubtful: bool = False
    retry_after_ms: int = 0


class Receiver(Protocol):
    """A receiver, configured as `[export.NAME]`."""

    @property
    def limits(self) -> Limits: ...

    def skips(self, project: str) -> bool:
        """Return whether the mapping excludes this project from the export."""

    def refusal(self, event: UsageEvent) -> str | None:
        """Return why the event cannot be sent; `None` if it can."""

    def lane(self, event: UsageEvent) -> str:
        """Return the event's lane; events of one lane are sent one after another."""

    def body(self, events: Sequence[UsageEvent]) -> bytes: ...

    def request(self, batch: Batch, now_unix_ms: int) -> Request: ...

    def judge(self, answer: Answer) -> Judgement: ...


_TOO_MANY = 429
_CREDENTIAL = frozenset({401, 403, 407})  # not about the batch, which waits until the credential is corrected
_AGAIN = frozenset({408, 409, 425})


def judge(answer: Answer) -> Judgement:
    """Return the meaning of an answer, by its status alone."""
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
    """Return the pause that the answer requests; 0 if there is none, or it is not in whole seconds."""
    text = answer.headers.get("retry-after", "")
    return min(int(text) * 1000, HOUR_MS) if text.isascii() and text.isdigit() and len(text) < 10 else 0

"""Books and sessions, written shortly."""

import uuid
from collections.abc import Callable

import pytest

from antiphon.core.usage import Charge, ClosedSession
from antiphon.metering.pricing.book import Book
from antiphon.metering.pricing.parse import parse_book

NOVEMBER = 1_793_491_200_000  # 2026-11-01T00:00:00Z

HEAD = """
book = "list"
version = "1"
currency = "USD"
from = 2026-01-01
"""
ROUNDING = 'rounding = { mode = "half_up", per = "session" }\n'


@pytest.fixture
def book() -> Callable[..., Book]:
    """Of the text of its prices, and of what is at its head."""

    def make(prices: str, head: str = ROUNDING) -> Book:
        return parse_book(f"{HEAD}{head}{prices}".encode(), "test")

    return make


@pytest.fixture
def charge() -> Callable[..., Charge]:
    def make(sequence: int, amount: int, dimension: str = "stt.audio_ms", **fields: object) -> Charge:
        values: dict[str, object] = {
            "sequence": sequence,
            "last": sequence,
            "entries": 1,
            "at_unix_ms": NOVEMBER,
            "key_id": "k1",
            "surface": "deepgram",
            "model": "nova-3",
            "dimension": dimension,
            "amount": amount,
            "channel": 0,
            "feature": "live",
            "kind": "usage",
            "corrects": None,
        }
        return Charge(**(values | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def closed() -> Callable[..., ClosedSession]:
    """A session of these charges."""

    def make(*charges: Charge, number: int = 1, at: int = NOVEMBER, abandoned: bool = False) -> ClosedSession:
        return ClosedSession("acme", str(uuid.UUID(int=number)), at, abandoned, list(charges))

    return make

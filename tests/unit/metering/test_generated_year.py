"""A year of usage, month by month, with corrections and entries that come late: every statement is what a second
computation, in decimals and from single entries, says.
"""

import asyncio
import random
import uuid

import pytest
from oracle import BOOK, total

from antiphon.core.entry import CLOSING, Entry, EntryKind, Reference
from antiphon.core.usage import Dimension, Quantity
from antiphon.metering.bills import to_json
from antiphon.metering.pricing.book import Series
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.statements import Billing, parse_period
from antiphon.stores.sqlite.ledger import SqliteLedger
from antiphon.testing import FakeBills

MONTHS = [parse_period(f"2026-{month:02}") for month in range(1, 13)]
SECOND = 1_000
AT_ONCE = 10_000
# Model, feature, dimensions, the most channels, the most results of a session, the most of one.
KINDS = (
    ("moonshine", "live", ("stt.audio_ms",), 2, 8, 9_000),
    ("moonshine", "live+redact", ("stt.audio_ms",), 1, 8, 9_000),
    ("moonshine", "live+diarize+keyterm", ("stt.audio_ms",), 2, 4, 9_000),
    ("whisper", "recording", ("stt.audio_ms",), 2, 1, 400_000),
    ("whisper", "recording+redact", ("stt.audio_ms",), 1, 1, 90_000),
    ("small-1", "stream", ("llm.input_tokens", "llm.output_tokens", "llm.reasoning_tokens"), 1, 4, 900),
    ("large-1", "whole", ("llm.input_tokens", "llm.output_tokens"), 1, 1, 900),
    ("joe", "whole", ("tts.characters", "tts.audio_ms"), 1, 3, 200),
)


def year(entries, chance):
    """Each entry with the month in which it is written, which may be later than its own."""
    made = []
    while len(made) < entries:
        model, feature, dimensions, channels, results, most = chance.choice(KINDS)
        session = str(uuid.UUID(int=chance.getrandbits(128)))
        at = chance.randrange(MONTHS[0].since_unix_ms, MONTHS[-1].until_unix_ms - 86_400_000)
        late = chance.random() < 0.03
        used = []

        def add(
            at, kind, dimension, amount, sequence, channel=0, corrects=None, session=session, model=model, f=feature
        ):
            fields = {"project": "acme", "key_id": "k", "session": session, "sequence": sequence, "at_unix_ms": at}
            fields |= {"surface": "deepgram", "model": model, "quantity": Quantity(Dimension(dimension), amount)}
            return Entry(**fields, channel=channel, feature=f, kind=kind, corrects=corrects)

        sequence = 0
        for _ in range(chance.randint(1, results)):
            for dimension in dimensions:
                for channel in range(chance.randint(1, channels)):
                    used.append(add(at, EntryKind.USAGE, dimension, chance.randint(1, most), sequence, channel))
                    sequence += 1
            at += chance.randrange(10 * SECOND)
        if chance.random() < 0.1:
            of = chance.choice(used)
            amount = -chance.randint(1, of.quantity.amount)
            corrects = Reference(session, of.sequence)
            correction = (of.quantity.dimension, amount, sequence, of.channel, corrects)
            used.append(add(at, EntryKind.CORRECTION, *correction))
            sequence += 1
        used.append(add(at, chance.choice((EntryKind.COMPLETED, EntryKind.ABANDONED)), dimensions[0], 0, sequence))
        made += [(entry, month_of(entry) + (late and entry.kind not in CLOSING)) for entry in used]
        if not late and chance.random() < 0.12:  # and one that somebody makes later
            of = used[0]
            then = min(at + chance.randrange(90 * 86_400_000), MONTHS[-1].until_unix_ms - 1)
            left = sum(e.quantity.amount for e in used if e.corrects and e.corrects.sequence == of.sequence)
            amount = -chance.randint(0, of.quantity.amount + left)
            corrects = Reference(session, of.sequence)
            by = str(uuid.UUID(int=chance.getrandbits(128)))
            other = add(then, EntryKind.CORRECTION, of.quantity.dimension, amount, 0, of.channel, corrects, by)
            made.append((other, month_of(other)))
    return sorted(made, key=lambda each: (each[1], each[0].at_unix_ms, each[0].session, each[0].sequence))


def month_of(entry):
    return next(n for n, month in enumerate(MONTHS) if entry.at_unix_ms < month.until_unix_ms)


@pytest.mark.parametrize(
    ("span", "entries"),
    [
        ("session", 2_000),
        ("day", 1_000),
        ("invoice", 1_000),
        pytest.param("session", 1_000_000, marks=pytest.mark.long),
    ],
)
def test_every_statement_is_what_a_second_computation_says(tmp_path, span, entries):
    written = year(entries, random.Random(f"{span} {entries}"))
    ledger = SqliteLedger(tmp_path / "ledger.db", "a")
    book = Series([parse_book(BOOK.replace("SPAN", span).encode(), "test")])
    billing = Billing(ledger, FakeBills(), lambda project: book)
    known, issued, before = [], [], 0
    kinds = set()
    try:
        for number, month in enumerate(MONTHS):
            now = [entry for entry, when in written if when == number]
            for start in range(0, len(now), AT_ONCE):
                asyncio.run(ledger.append(now[start : start + AT_ONCE]))
            known += [(entry, max(entry.at_unix_ms, month.since_unix_ms)) for entry in now]
            statement = billing.issue("acme", month, month.until_unix_ms)
            so_far = total(known, [each.since_unix_ms for each in MONTHS], month.until_unix_ms, span)
            expected, before = so_far - before, so_far
            assert statement.total_nano == expected
            assert sum(line.nano for line in billing.lines("acme", month)) == expected
            issued.append(to_json(statement))
            kinds |= {item.place.kind for item in statement.items}
        after = [to_json(billing.statement("acme", month, 0)) for month in MONTHS]
    finally:
        ledger.stop()
    assert after == issued
    kinds = {line.place.kind for line in statement.items}
    assert kinds == {"usage", "correction"}

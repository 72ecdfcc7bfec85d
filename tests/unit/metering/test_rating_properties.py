"""What the rules do not tell apart costs the same: how usage is cut into entries, and in which order these come."""

import uuid

from hypothesis import given
from hypothesis import strategies as st
from oracle import BOOK

from antiphon.core.usage import Charge, ClosedSession
from antiphon.metering.pricing.parse import parse_book
from antiphon.metering.rating import rate

BOOKS = {span: parse_book(BOOK.replace("SPAN", span).encode(), "test") for span in ("session", "day", "invoice")}
DAY_MS = 86_400_000
USES = st.sampled_from(
    [
        ("stt.audio_ms", "moonshine", "live"),
        ("stt.audio_ms", "moonshine", "live+redact"),
        ("stt.audio_ms", "whisper", "recording+diarize"),
        ("llm.output_tokens", "small-1", "stream"),
        ("llm.reasoning_tokens", "large-1", "stream"),
        ("tts.characters", "joe", "whole"),
    ]
)
AMOUNTS = st.lists(st.tuples(USES, st.integers(0, 1), st.integers(1, 3_000_000)), min_size=1, max_size=6)


def charge(sequence, use, channel, amount, kind="usage", corrects=None):
    dimension, model, feature = use
    return Charge(
        *(sequence, sequence, 1, 0, "k", "openai", model, dimension, amount, channel, feature, kind, corrects)
    )


def sessions(contents, closed):
    """Of one charge for each amount."""
    made = []
    for number, (amounts, at) in enumerate(zip(contents, closed, strict=False)):
        charges = [charge(n, *amount) for n, amount in enumerate(amounts)]
        made.append(ClosedSession("acme", str(uuid.UUID(int=number)), at * DAY_MS, False, charges))
    return sorted(made, key=lambda session: (session.closed_unix_ms, session.session))


def costs(sessions, book):
    """What each session and price came to."""
    book = type(book)(**({name: getattr(book, name) for name in book.__slots__} | {"since_unix_ms": 0}))
    found = {}
    for line in rate(sessions, book):
        key = line.session, line.rate.price.id if line.rate else line.reason, line.dimension, line.model, line.channel
        found[key] = found.get(key, 0) + line.nano
    return found


CONTENTS = st.lists(AMOUNTS, min_size=1, max_size=4)
CLOSED = st.lists(st.integers(0, 3), min_size=4, max_size=4)
SPANS = st.sampled_from(sorted(BOOKS))


@given(CONTENTS, CLOSED, SPANS, st.data())
def test_splitting_and_reordering_entries_changes_nothing(contents, closed, span, data):
    whole = sessions(contents, closed)
    split = []
    for session in whole:
        pieces = []
        for each in session.charges:
            first = data.draw(st.integers(0, each.amount))
            pieces += [each._replace(amount=first), each._replace(amount=each.amount - first)]
        pieces = data.draw(st.permutations(pieces))
        numbered = [piece._replace(sequence=n, last=n) for n, piece in enumerate(pieces)]
        split.append(ClosedSession("acme", session.session, session.closed_unix_ms, False, numbered))
    assert costs(split, BOOKS[span]) == costs(whole, BOOKS[span])


@given(CONTENTS, CLOSED, SPANS)
def test_what_is_corrected_to_nothing_costs_nothing(contents, closed, span):
    for session in (corrected := sessions(contents, closed)):
        zero = [
            charge(100 + c.sequence, (c.dimension, c.model, c.feature), c.channel, -c.amount, "correction", c.sequence)
            for c in session.charges
        ]
        session.charges.extend(zero)
    assert costs(corrected, BOOKS[span]) == {}


@given(CONTENTS, CLOSED, SPANS)
def test_a_correction_is_as_if_less_had_been_used(contents, closed, span):
    less = [[(use, channel, (amount + 1) // 2) for use, channel, amount in amounts] for amounts in contents]
    corrected = sessions(contents, closed)
    for session in corrected:
        for c in list(session.charges):
            use = c.dimension, c.model, c.feature
            session.charges.append(charge(100 + c.sequence, use, c.channel, -(c.amount // 2), "correction", c.sequence))
    assert costs(corrected, BOOKS[span]) == costs(sessions(less, closed), BOOKS[span])


@given(CONTENTS, CLOSED)
def test_the_lines_of_a_longer_span_add_up_to_its_rounded_sum(contents, closed):
    """So no total of an invoice is more than half a nano-unit a price off what exact amounts would be."""
    made = sessions(contents, closed)
    by_session, by_invoice = (sum(costs(made, BOOKS[span]).values()) for span in ("session", "invoice"))
    assert abs(by_session - by_invoice) <= sum(len(session.charges) * 3 for session in made)

"""An append of which nobody knows how it ended is written again by the same keys, and charged once."""

import uuid

import pytest

from antiphon.calls.account import Account
from antiphon.core.call import Call
from antiphon.core.entry import EntryKind, Reference
from antiphon.core.errors import LedgerUnavailable, OutcomeUnknown
from antiphon.core.identity import Principal
from antiphon.core.specs import TranscribeSpec
from antiphon.core.usage import Dimension, Meter

METER, OTHER = Meter(Dimension.STT_AUDIO_MS), Meter(Dimension.STT_SESSION_MS)
SESSION = str(uuid.UUID(int=5))
CALL = Call(SESSION, Principal("acme", "k1", frozenset()), "deepgram", TranscribeSpec("tiny", tags=("a=1",)))


@pytest.fixture
def account(house):
    return Account(house.services, CALL, "tiny", "live")


def written(house):
    return [(entry.sequence, entry.kind, entry.quantity.amount) for entry in house.ledger.entries]


@pytest.mark.parametrize("wrote", [True, False])
async def test_what_may_be_written_is_written_again_and_once(house, account, wrote):
    await account.charge({METER: 100})
    house.ledger.outcome = wrote
    with pytest.raises(OutcomeUnknown):
        await account.charge({METER: 300})
    house.ledger.outcome = None
    await account.close(EntryKind.ABANDONED, {METER: 300})
    assert written(house) == [(0, EntryKind.USAGE, 100), (1, EntryKind.USAGE, 200), (2, EntryKind.ABANDONED, 0)]


async def test_what_was_refused_is_not_written(house, account):
    await account.charge({METER: 100})
    house.ledger.error = LedgerUnavailable("full")
    with pytest.raises(LedgerUnavailable):
        await account.charge({METER: 300})
    house.ledger.error = None
    await account.close(EntryKind.ABANDONED, {METER: 100})
    assert [amount for _, _, amount in written(house)] == [100, 0]


async def test_what_the_ledger_has_of_tags_is_what_the_policy_says(house):
    house.keys.labels = lambda project, tags: tuple(f"{project} {tag}" for tag in tags)
    account = Account(house.services, CALL, "tiny", "live")
    await account.charge({METER: 100})
    assert [entry.tags for entry in house.ledger.entries] == [("acme a=1",)]


async def test_a_correction_after_a_refused_charge_is_of_an_entry_that_the_ledger_has(house, account):
    await account.charge({METER: 100})
    house.ledger.error = LedgerUnavailable("full")
    with pytest.raises(LedgerUnavailable):
        await account.charge({METER: 300})
    house.ledger.error = None
    await account.charge({METER: 40})
    correction = house.ledger.entries[-1]
    assert (correction.quantity.amount, correction.corrects) == (-60, Reference(SESSION, 0))


async def test_a_refused_charge_does_not_count_as_an_entry(house, account):
    account.entries = []
    account.allowance = allowance = Asked()
    house.ledger.error = LedgerUnavailable("full")
    with pytest.raises(LedgerUnavailable):
        await account.charge({METER: 100})
    house.ledger.error = None
    await account.charge({METER: 100})
    assert allowance.numbers == [{METER: 1}, {METER: 1}]


async def test_what_was_noted_stays_reserved_while_more_of_something_else_is_noted(house, account):
    account.allowance = allowance = Asked()
    await account.note({METER: 100})
    await account.note({OTHER: 5})
    await account.charge({METER: 100, OTHER: 6})
    await account.note({METER: 101})
    await account.note({OTHER: 7})
    assert [amounts.get(METER) for amounts in allowance.amounts] == [100, 100, 100, 101, 101]
    assert [amounts.get(OTHER) for amounts in allowance.amounts] == [None, 5, 6, 6, 7]


class Asked:
    """An allowance that keeps what it was asked to cover, and how many entries there would be."""

    def __init__(self):
        self.amounts, self.numbers = [], []

    def charge(self, amounts, numbers):
        self.amounts.append(dict(amounts))
        self.numbers.append(numbers)

import pytest

from antiphon.core.entry import Entry
from antiphon.core.errors import AlreadyAnswered, Conflict, LedgerUnavailable
from antiphon.core.stores import Claim
from antiphon.core.usage import Dimension, Quantity
from antiphon.testing import FakeClock, FakeLedger

ONE, TWO = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


def entry(session=ONE, amount=5):
    return Entry(
        project="p",
        key_id="k",
        session=session,
        sequence=0,
        at_unix_ms=1,
        surface="s",
        model="m",
        quantity=Quantity(Dimension.STT_AUDIO_MS, amount),
    )


def test_the_fake_clock_moves_when_told():
    clock = FakeClock()
    wall = clock.unix_ms()
    clock.advance_ms(1_500)
    assert (clock.now_ns(), clock.unix_ms() - wall) == (1_500_000_000, 1_500)


async def test_the_fake_ledger_keeps_the_rules_of_the_real_one():
    ledger = FakeLedger()
    claim = await ledger.claim("p", "key", "body", ONE, 0)
    late = await ledger.claim("p", "key", "body", TWO, 0)
    await ledger.append([entry()], claim)
    await ledger.append([entry()])
    with pytest.raises(AlreadyAnswered):
        await ledger.append([entry(TWO)], late)
    assert ledger.entries == [entry()]
    assert (await ledger.claim("p", "key", "body", TWO, 0)).replay_of == ONE
    with pytest.raises(Conflict):
        await ledger.append([entry(amount=6)])
    with pytest.raises(Conflict):
        await ledger.claim("p", "key", "another", TWO, 0)


async def test_the_fake_ledger_charges_nothing_for_a_replay():
    ledger = FakeLedger()
    await ledger.append([entry()], Claim("p", "", "body", ONE, 0, replay_of=TWO))
    assert ledger.entries == []


async def test_the_fake_ledger_fails_when_told():
    ledger = FakeLedger()
    ledger.error = LedgerUnavailable("full")
    assert not ledger.healthy
    with pytest.raises(LedgerUnavailable):
        await ledger.append([entry()])
    assert ledger.entries == []

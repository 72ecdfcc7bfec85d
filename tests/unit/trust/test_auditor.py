"""What is recorded, how often, and what is not lost."""

import pytest

from antiphon.core.audit import Action, AuditRecord, Outcome, policy_version
from antiphon.core.call import Call
from antiphon.core.errors import LedgerUnavailable, PolicyError, Unauthenticated
from antiphon.core.identity import USUAL_SCOPES, Principal
from antiphon.core.policy import Policy
from antiphon.testing import FakeDirectory, FakeLedger
from antiphon.trust.audit import MOST_COUNTED, Addresses, Auditor, masked

WHO = Principal("acme", "k1", USUAL_SCOPES)


class Full(FakeLedger):
    """A ledger that has no room while `full`."""

    full = False

    def record(self, record):
        if self.full:
            raise LedgerUnavailable("full")
        super().record(record)


@pytest.fixture
def ledger():
    return Full()


@pytest.fixture
def directory():
    return FakeDirectory()


@pytest.fixture
def auditor(ledger, directory, clock):
    return Auditor(ledger, directory, clock, lambda project: Policy(weight=2), keep_s=60)


def refuse(auditor, address="192.0.2.7", error=None):
    auditor.refuse(Action.ACCESS, "/v1/listen", error or Unauthenticated("no"), address, "r2")


def test_who_is_let_in_is_recorded_with_the_policy_that_held(auditor, ledger, clock):
    auditor.admit(Action.ACCESS, "/v1/listen", WHO, "192.0.2.7", "r1")
    assert ledger.records == [
        AuditRecord(
            *(clock.unix_ms(), Action.ACCESS, Outcome.ALLOWED, "k1", "acme", "/v1/listen", "", "192.0.2.0/24", "r1"),
            policy_version(Policy(weight=2)),
        )
    ]


def test_who_cannot_be_recorded_is_not_let_in(auditor, ledger):
    ledger.full = True
    with pytest.raises(LedgerUnavailable):
        auditor.admit(Action.ACCESS, "/v1/listen", WHO, "192.0.2.7", "r1")


def test_a_call_whose_content_could_not_be_hidden_is_recorded(auditor, ledger):
    auditor.not_redacted(Call("c1", WHO, "deepgram", None), "TimeoutError")
    (record,) = ledger.records
    assert record[1:7] == (Action.REDACTION_FAIL, Outcome.FAILED, "k1", "acme", "c1", "TimeoutError")


async def test_refusals_of_a_minute_are_one_record_and_a_count(auditor, ledger, clock):
    for _ in range(500):
        refuse(auditor)
    refuse(auditor, "192.0.2.8")
    known = PolicyError("no")
    known.key_id, known.project = "k2", "acme"
    refuse(auditor, error=known)
    assert [(each.actor, each.project, each.reason) for each in ledger.records] == [
        ("", "", "unauthenticated"), ("", "", "unauthenticated"), ("k2", "acme", "forbidden")
    ]  # fmt: skip
    await auditor.look()
    assert len(ledger.records) == 3
    clock.advance_ms(60_000)
    await auditor.look()
    (counted,) = ledger.records[3:]
    assert (counted.counts, counted.reason, counted.address) == ((("times", 499),), "unauthenticated", "192.0.2.0/24")
    refuse(auditor)
    assert len(ledger.records) == 5


async def test_refusals_of_very_many_addresses_are_counted_together(auditor, ledger, clock):
    for number in range(MOST_COUNTED + 100):
        refuse(auditor, f"10.0.{number // 250}.{number % 250}")
    assert len(ledger.records) == MOST_COUNTED + 1
    clock.advance_ms(60_000)
    await auditor.look()
    assert ledger.records[-1].counts == (("times", 99),)
    assert ledger.records[-1].address == ""


async def test_what_stood_beside_changes_is_moved_once(auditor, ledger, directory, clock):
    record = AuditRecord(clock.unix_ms(), Action.KEY_CREATE, Outcome.DONE, "cli:0")
    for _ in range(3):
        directory.note(record)
    await auditor.look()
    await auditor.close()
    assert ledger.records == [record] * 3
    assert directory.changes()[1] == []


def test_what_was_lost_is_counted_and_said(auditor, ledger):
    ledger.full = True
    for number in range(3):
        auditor.event(Action.FILE_READ, "acme", f"f{number}")
    ledger.full = False
    auditor.event(Action.FILE_READ, "acme", "f3")
    assert [(each.action, each.counts) for each in ledger.records] == [
        (Action.AUDIT_LOSE, (("records", 3),)), (Action.FILE_READ, ())
    ]  # fmt: skip


async def test_what_is_past_its_time_is_dropped_and_that_is_recorded(auditor, ledger, clock):
    auditor.event(Action.FILE_READ, "acme", "f1")
    clock.advance_ms(61_000)
    await auditor.look()
    assert ledger.records[0] is None
    assert (ledger.records[1].action, ledger.records[1].counts) == (Action.AUDIT_EXPIRE, (("records", 1),))


async def test_a_clock_that_was_set_back_is_recorded_once(ledger, directory, clock):
    behind = [0]
    auditor = Auditor(ledger, directory, clock, lambda project: Policy(), behind_ms=lambda: behind[0])
    for behind[0] in (0, 61_000, 62_000, 0, 61_000):
        clock.advance_ms(60_000)
        await auditor.look()
    assert [each.counts for each in ledger.records] == [(("behind_ms", 61_000),)] * 2


@pytest.mark.parametrize(
    ("address", "network", "whole"),
    [
        ("192.0.2.7", "192.0.2.0/24", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.0/24", "192.0.2.7"),
        ("2001:db8:1:2::3", "2001:db8:1::/48", "2001:db8:1:2::3"),
        ("fe80::1%eth0", "fe80::/48", "fe80::1"),
        ("", "", ""),
        ("somewhere", "", ""),
    ],
)
def test_addresses_are_recorded_as_far_as_is_said(address, network, whole):
    assert [masked(address, each) for each in Addresses] == [whole, network, ""]

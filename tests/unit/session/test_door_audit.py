"""What the door says to the audit log: whom it let in to what, whom not and why, and what it gave out."""

import pytest

from antiphon.core.audit import Action, Outcome
from antiphon.core.endpoints import KeptAct, KeptAnswer
from antiphon.core.errors import LedgerUnavailable, PolicyError, Unauthenticated
from antiphon.core.identity import Scope
from antiphon.core.routing import CallRow, LookupRow
from antiphon.core.wire import NOTHING, Bearer, Keep, Opening

OPENING = Opening("GET", "/v1/responses/r1", request_id="q1", address="192.0.2.7")


class Asks:
    """An endpoint of lookups that asks one question."""

    def __init__(self, question):
        self.question = question

    def credential(self, opening):
        return Bearer("secret")

    def ask(self, opening, body):
        return self.question


def told(house):
    return [(each.action, each.outcome, each.actor, each.object, each.reason) for each in house.ledger.records]


async def read(principal):
    raise AssertionError("there is no body")


async def test_who_is_let_in_and_who_is_not(house):
    row = CallRow("/v1/chat/completions", "openai", None)
    house.door.authenticate(row, OPENING, Bearer("secret"), Scope.GENERATE)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            house.door.authenticate(row, OPENING, Bearer("guess"), Scope.GENERATE)
    assert told(house) == [
        (Action.ACCESS, Outcome.ALLOWED, "k1", "/v1/chat/completions", ""),
        (Action.ACCESS, Outcome.REFUSED, "", "/v1/chat/completions", "unauthenticated"),
    ]
    allowed = house.ledger.records[0]
    assert (allowed.project, allowed.address, allowed.request) == ("acme", "192.0.2.0/24", "q1")
    assert "guess" not in str(house.ledger.records)


async def test_who_cannot_be_recorded_is_not_let_in(house, monkeypatch):
    def full(record):
        raise LedgerUnavailable("full")

    monkeypatch.setattr(house.ledger, "record", full)
    with pytest.raises(LedgerUnavailable):
        house.door.authenticate(CallRow("/v1/embeddings", "openai", None), OPENING, Bearer("secret"), None)


async def test_what_is_kept_and_was_given_out_or_deleted(house):
    house.keep_s["acme"] = 60
    await house.kept.put("acme", Keep("r1", b"{}"), 60)
    for act in (KeptAct.READ, KeptAct.DELETE):
        row = LookupRow("/v1/responses/{id}", "openai", Asks(KeptAnswer(act, "r1", lambda body, runs: NOTHING)))
        await house.door.look_up(row, OPENING, read)
    with pytest.raises(Exception, match="not found"):
        await house.door.look_up(row, OPENING, read)
    assert [each[::3] for each in told(house)] == [
        (Action.ACCESS, "/v1/responses/{id}"), (Action.ANSWER_READ, "r1"),
        (Action.ACCESS, "/v1/responses/{id}"), (Action.ANSWER_DELETE, "r1"),
        (Action.ACCESS, "/v1/responses/{id}"),
    ]  # fmt: skip
    assert {each.actor for each in house.ledger.records} == {"k1"}


async def test_what_the_policy_does_not_allow_is_recorded_too(house):
    class Speaks:
        def credential(self, opening):
            return Bearer("secret")

        def negotiate(self, opening, sent):
            raise PolicyError("no engine is where this project's policy requires it")

    class Held:
        def release(self):
            pass

    async def body(principal):
        return Held(), b""

    row = CallRow("/v1/audio/speech", "openai", Speaks())
    with pytest.raises(PolicyError):
        await house.door.call(row, OPENING, body)
    assert told(house)[1] == (Action.ACCESS, Outcome.REFUSED, "k1", "/v1/audio/speech", "forbidden")

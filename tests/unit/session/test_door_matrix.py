"""Every route of every transport, for every kind of caller who may not pass: nothing is read, nothing is told."""

import pytest

from antiphon.core.audit import Action, Outcome
from antiphon.core.endpoints import NeedsFirst
from antiphon.core.errors import AddressNotAllowed, PolicyError, Unauthenticated
from antiphon.core.identity import ROLES, AccessRole, Principal, Scope
from antiphon.core.routing import CallRow, DialogueRow, LookupRow
from antiphon.core.wire import Bearer, Opening
from antiphon.routes import GRPC_ROUTES, ROUTES
from antiphon.session.arrival import Arrival

CLOSED = [row for row in (*ROUTES, *GRPC_ROUTES) if not (isinstance(row, LookupRow) and row.open)]
WRONG = {"authorization": "Bearer wrong", "xi-api-key": "wrong", "api-key": "wrong", "x-goog-api-key": "wrong"}


def opening(row, headers):
    method = "GET" if isinstance(row, DialogueRow) else getattr(row, "method", "POST")
    return Opening(method, row.path, headers=headers, request_id="00000000-0000-0000-0000-000000000001")


async def knock(house, row, asked):
    """What a caller without a valid key gets."""

    async def read(principal):
        raise AssertionError("a body was read")

    if isinstance(row, CallRow):
        return await house.door.call(row, asked, read)
    if isinstance(row, LookupRow):
        return await house.door.look_up(row, asked, read)
    return await Arrival(house.door, row, asked).enter()


def refuse(key_id, address, surface=""):
    raise AddressNotAllowed(f"{key_id} may not be used at {address}, {surface}")


@pytest.mark.parametrize("headers", [{}, WRONG], ids=["none", "wrong"])
async def test_who_is_not_known_gets_nothing(house, headers):
    for row in CLOSED:
        asked = opening(row, headers)
        try:
            answer = await knock(house, row, asked)
        except Unauthenticated as error:
            step = repr(row.endpoint.refuse(asked, error))
            assert "counter" not in step, row.path
            assert "acme" not in step, row.path
        else:  # the key comes in the first message
            assert isinstance(answer, NeedsFirst), row.path
    assert not house.ledger.entries
    assert {each.outcome for each in house.ledger.records} == {Outcome.REFUSED}


def test_a_known_key_in_the_wrong_place_gets_nothing_and_is_recorded(house, monkeypatch):
    monkeypatch.setattr(house.keys, "check_limits", refuse)
    for row in CLOSED:
        with pytest.raises(AddressNotAllowed, match=f"k1 may not be used at 192.0.2.9, {row.surface}"):
            house.door.authenticate(row, Opening("GET", row.path, address="192.0.2.9"), Bearer("secret"), None)
    record = house.ledger.records[0]
    assert (record.action, record.outcome, record.reason) == (Action.ACCESS, Outcome.REFUSED, "address_not_allowed")


def test_what_a_key_is_limited_to_holds_for_its_one_call_secrets(house, monkeypatch):
    principal = house.keys.authenticate("secret", Scope.TRANSCRIBE)
    minted = house.sessions.secrets.mint(principal, "openai", b"", 60)
    row = next(row for row in ROUTES if isinstance(row, DialogueRow) and row.surface == "openai")
    monkeypatch.setattr(house.keys, "check_limits", refuse)
    with pytest.raises(AddressNotAllowed):
        house.door.authenticate(row, Opening("GET", row.path), Bearer(minted.secret), None)


def test_a_token_of_the_provider_manages_and_calls_no_model(house):
    class Provider:
        def authenticate(self, token):
            return Principal("acme", "oidc:ann", ROLES[AccessRole.AUDITOR])

    house.door._callers._oidc = Provider()
    assert house.door.administer("a.b.c", Scope.AUDIT, "").key_id == "oidc:ann"
    with pytest.raises(PolicyError):
        house.door.administer("a.b.c", Scope.ADMIN, "")
    for row in CLOSED:
        with pytest.raises(Unauthenticated):
            house.door.authenticate(row, Opening("GET", row.path), Bearer("a.b.c"), None)
    with pytest.raises(Unauthenticated):
        house.door._by_key(Opening("GET", "/"), Bearer("a.b.c"), None)

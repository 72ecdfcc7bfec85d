"""Calls that hear somebody, of a project that requires a tag of consent."""

import pytest

from antiphon.core.audit import Outcome
from antiphon.core.call import Call
from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.errors import CallerError, ConsentRequired
from antiphon.core.events import Audio, End
from antiphon.core.identity import Principal, Scope
from antiphon.core.policy import ConsentPolicy, Policy
from antiphon.core.routing import CallRow, DialogueRow
from antiphon.core.tags import NAME
from antiphon.core.wire import Opening
from antiphon.routes import GRPC_ROUTES, JOB_CALLS, ROUTES
from antiphon.session.arrival import Arrival, OpenStream
from session_house import audio, closed, events_of

CONSENT = "consent=call-7"
LISTEN = next(row for row in ROUTES if row.path == "/v1/listen" and isinstance(row, DialogueRow))
HEARING = [
    row
    for row in (*ROUTES, *GRPC_ROUTES, *JOB_CALLS)
    if isinstance(row, CallRow | DialogueRow) and row.scope is Scope.TRANSCRIBE
]


@pytest.fixture
def house(house):
    house.keys.policy = lambda project: Policy(consent=ConsentPolicy.VOICE)
    return house


def arrival(house, query=(), **headers):
    headers, query = {"authorization": "Token secret"} | headers, (("model", "nova-3"), *query)
    return Arrival(house.door, LISTEN, Opening("GET", "/v1/listen", query, headers, request_id=house._id(None, None)))


async def test_without_it_nobody_is_heard_and_the_refusal_is_in_the_log(house):
    for tags in ((), ("consent=",), ("consents=x",)):
        with pytest.raises(ConsentRequired):
            house.open(tags=tags)
    with pytest.raises(ConsentRequired) as raised:
        await arrival(house).enter()
    assert raised.value.param == NAME
    refused = [record for record in house.ledger.records if record.outcome is Outcome.REFUSED]
    assert [record.reason for record in refused] == ["consent_required"]
    with pytest.raises(ConsentRequired):
        house.sessions.converse(Call(house._id(None, None), house.principal, "openai", ConverseSpec("counter")))
    house.generate()
    house.speak()


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ((), {NAME: CONSENT}),
        (((NAME, CONSENT),), {}),
        ((("tag", CONSENT),), {}),
    ],
)
async def test_with_it_the_entry_has_it(house, query, headers):
    opened = await arrival(house, (("encoding", "linear16"), ("sample_rate", "16000"), *query), **headers).enter()
    assert isinstance(opened, OpenStream)
    await opened.session.feed(Audio(audio(900, 900)))
    await opened.session.feed(End())
    await events_of(opened.session)
    await opened.session.close(delivered=True)
    await closed()
    assert {entry.tags for entry in house.ledger.entries} == {(CONSENT,)}


async def test_a_conversation_and_all_of_its_parts_have_it(house):
    principal = Principal("acme", "k1", frozenset(Scope))
    call = Call(house._id(None, None), principal, "openai", ConverseSpec("counter", speak=False), tags=(CONSENT,))
    conversation = house.sessions.converse(call)
    parts = conversation._parts
    assert parts.generate(house._id(None, None), house.generate().call.spec, False).call.tags == (CONSENT,)


async def test_more_tags_than_an_entry_has_are_refused(house):
    query = tuple(("tag", f"t{number}") for number in range(30))
    with pytest.raises(CallerError, match="tags"):
        await arrival(house, query, **{NAME: f"{CONSENT},a,b"}).enter()


@pytest.mark.parametrize("row", HEARING, ids=lambda row: f"{row.surface} {row.path}")
def test_every_vendors_refusal_says_so(row):
    """In its own format: with the message, and not as a success."""
    opening = Opening("POST", row.path, request_id="00000000-0000-0000-0000-000000000001")
    step = row.endpoint.refuse(opening, ConsentRequired("needs consent", param=NAME))
    assert "needs consent" in str(step)
    assert " 200" not in str(step.sends[:1])

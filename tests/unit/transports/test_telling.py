import pytest
from vendor import Caller, Endpoint, Whole, scope

from antiphon.catalogue.catalogue import ANSWERS
from antiphon.core.endpoints import Offer, Spending
from antiphon.core.errors import CallerError, Unauthenticated
from antiphon.core.routing import LookupRow
from antiphon.core.usage import Dimension
from antiphon.core.wire import Response, ShortToken
from antiphon.session import spending
from antiphon.transports.http import LookupRoute
from antiphon.transports.table import ByHeader
from antiphon.transports.uploads import Uploads
from session_house import events_of


async def ask(app, key="secret", headers=()):
    caller = Caller()
    await app(scope(key=key, headers=headers), caller.receive, caller.send)
    return caller.answer


class Voices(Endpoint):
    """Tells all names; `broken` is raised."""

    broken = None

    def ask(self, opening, body):
        return Offer(self.answer)

    def answer(self, offered):
        if self.broken:
            raise self.broken
        return Response(200, (), " ".join(card.name for card in (*offered.voices, *offered.speakers)).encode())


class Spent(Endpoint):
    """Of all time."""

    def ask(self, opening, body):
        return Spending(Dimension.TTS_CHARACTERS, 0, self.answer)

    def answer(self, spent):
        return Response(200, (), f"{spent.project} {spent.amount}".encode())


class Tokens(Endpoint):
    """Makes one."""

    def ask(self, opening, body):
        return ShortToken(60, lambda token: Response(200, (), token.encode()), once=True, settled=b"one hour")


async def test_a_token_for_one_dialogue_has_what_was_settled(house):
    route = LookupRoute(LookupRow("/", "v", Tokens(Whole())), house.door, Uploads(1, 1))
    status, token = await ask(route)
    assert status == 200
    assert await ask(route, token.decode()) == (401, b"unauthenticated")
    assert house.sessions.secrets.redeem("v", token.decode())[1] == b"one hour"
    with pytest.raises(Unauthenticated):
        house.sessions.secrets.redeem("v", token.decode())


async def test_the_list_of_models(house):
    route = LookupRoute(LookupRow("/", "openai", Endpoint(Whole())), house.door, Uploads(1, 1))
    cards = house.catalogue.cards(ANSWERS) + house.voices.models()
    assert await ask(route) == (200, b" ".join([b"nova-3", b"tiny", *(card.name.encode() for card in cards)]))
    assert await ask(route, "other") == (401, b"unauthenticated")


async def test_who_can_speak(house):
    endpoint = Voices(Whole())
    route = LookupRoute(LookupRow("/", "elevenlabs", endpoint), house.door, Uploads(1, 1))
    assert await ask(route) == (200, b"alloy buzz tone tone-2026")
    assert await ask(route, "other") == (401, b"unauthenticated")
    endpoint.broken = CallerError("no")
    assert await ask(route) == (400, b"invalid_request")


async def test_what_was_charged_holds_for_a_while(house):
    route = LookupRoute(LookupRow("/", "elevenlabs", Spent(Whole())), house.door, Uploads(1, 1))
    project = house.principal.project.encode()
    assert await ask(route) == (200, project + b" 0")
    await events_of(house.speak(text="Hello."))
    assert await ask(route) == (200, project + b" 0")
    house.clock.advance_ms(spending.HOLDS_S * 1000)
    assert await ask(route) == (200, project + b" 6")


async def test_sums_that_are_kept_are_few(house, monkeypatch):
    monkeypatch.setattr(spending, "MAX_KEPT", 2)
    for since in range(5):
        await house.sessions.spending.since("p", Dimension.TTS_CHARACTERS, since)
    assert len(house.sessions.spending._kept) == 2


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ((), b"ours"),
        (((b"xi-api-key", b""),), b"theirs"),
        (((b"authorization", b"ToKen k"),), b"others"),
        (((b"authorization", b"Bearer k"),), b"ours"),
    ],
)
async def test_a_header_says_whose_a_path_is(headers, answer):
    def saying(text):
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": text, "more_body": False})

        return app

    app = ByHeader(
        [("xi-api-key", "", saying(b"theirs")), ("authorization", "token ", saying(b"others"))], saying(b"ours")
    )
    assert await ask(app, headers=list(headers)) == (200, answer)


async def test_what_anybody_may_ask_takes_no_key(house):
    assert await ask(
        LookupRoute(LookupRow("/", "openai", Voices(Whole()), open=True), house.door, Uploads(1, 1)), "other"
    ) == (
        200,
        b"alloy buzz tone tone-2026",
    )

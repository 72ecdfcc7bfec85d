import pytest
from vendor import Caller, Endpoint, Whole, scope

from antiphon.core.errors import CallerError
from antiphon.core.usage import Dimension
from antiphon.core.wire import Response
from antiphon.session import spending
from antiphon.transports.telling import ByHeader, ListRoute, SpentRoute, VoicesRoute
from session_house import said


async def ask(app, key="secret", headers=()):
    caller = Caller()
    await app(scope(key=key, headers=headers), caller.receive, caller.send)
    return caller.answer


class Voices(Endpoint):
    """Tells all names; `broken` is raised."""

    broken = None

    def answer(self, opening, voices, models):
        if self.broken:
            raise self.broken
        return Response(200, (), " ".join(card.name for card in (*voices, *models)).encode())


class Spent(Endpoint):
    """Of all time."""

    dimension = Dimension.TTS_CHARACTERS

    def since_unix_ms(self, opening):
        return 0

    def answer(self, opening, spent):
        return Response(200, (), f"{spent.project} {spent.amount}".encode())


async def test_the_list_of_models(house):
    route = ListRoute("openai", Endpoint(Whole()), house.sessions)
    cards = house.sessions.languages.cards() + house.voices.models()
    assert await ask(route) == (200, b" ".join([b"nova-3", b"tiny", *(card.name.encode() for card in cards)]))
    assert await ask(route, "other") == (401, b"unauthenticated")


async def test_who_can_speak(house):
    endpoint = Voices(Whole())
    route = VoicesRoute("elevenlabs", endpoint, house.sessions)
    assert await ask(route) == (200, b"alloy buzz tone tone-2026")
    assert await ask(route, "other") == (401, b"unauthenticated")
    endpoint.broken = CallerError("no")
    assert await ask(route) == (400, b"invalid_request")


async def test_what_was_charged_holds_for_a_while(house):
    route = SpentRoute("elevenlabs", Spent(Whole()), house.sessions)
    project = house.principal.project.encode()
    assert await ask(route) == (200, project + b" 0")
    await said(house.speak(text="Hello."))
    assert await ask(route) == (200, project + b" 0")
    house.clock.advance_ms(spending.HOLDS_S * 1000)
    assert await ask(route) == (200, project + b" 6")


async def test_sums_that_are_kept_are_few(house, monkeypatch):
    monkeypatch.setattr(spending, "MAX_KEPT", 2)
    for since in range(5):
        await house.sessions.spending.since("p", Dimension.TTS_CHARACTERS, since)
    assert len(house.sessions.spending._kept) == 2


@pytest.mark.parametrize(("headers", "answer"), [((), b"ours"), (((b"xi-api-key", b""),), b"theirs")])
async def test_a_header_says_whose_a_path_is(headers, answer):
    def saying(text):
        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": text, "more_body": False})

        return app

    app = ByHeader("xi-api-key", saying(b"theirs"), saying(b"ours"))
    assert await ask(app, headers=list(headers)) == (200, answer)

"""Secrets for one call: made over HTTP, used for a WebSocket, once."""

import asyncio

import pytest
from vendor import Caller, Endpoint, Live, scope

from antiphon.core.conversation.spec import ConverseSpec
from antiphon.core.endpoints import OneCallSecret
from antiphon.core.errors import UnsupportedParameter
from antiphon.core.identity import Scope
from antiphon.core.routing import DialogueRow, LookupRow
from antiphon.core.wire import Response
from antiphon.transports.http import LookupRoute
from antiphon.transports.uploads import Uploads
from antiphon.transports.websocket import DialogueRoute
from session_house import audio


class Secrets(Endpoint):
    """Settles the body, for a minute; it opens a conversation, a written one where it says so."""

    def ask(self, opening, body):
        self.on_negotiate()
        return OneCallSecret(body, 60, ConverseSpec(speak=body != b"written"), self.grant)

    def grant(self, spec, secret, expires_unix_s):
        return Response(200, (), f"{secret} {expires_unix_s}".encode())


class Listening(Endpoint):
    """Keeps what was settled."""

    def negotiate(self, opening, first=None):
        self.settled = opening.settled
        return super().negotiate(opening)


def row(surface, endpoint):
    return LookupRow("/", surface, endpoint, "POST", Scope.TRANSCRIBE, max_body_bytes=1_000_000)


@pytest.fixture
def uploads():
    return Uploads(1_000, 1_000)


async def asked(house, uploads, body=b"settled", key="secret", surface="openai", **given):
    caller = Caller()
    caller.body(body)
    route = LookupRoute(row(surface, Secrets(None, **given)), house.door, uploads)
    await route(scope(key=key), caller.receive, caller.send)
    assert uploads.held == 0
    return caller.answer


async def opened(house, secret, surface="openai", said=()):
    """The first thing the server says to a WebSocket, and the endpoint."""
    caller, endpoint = Caller(), Listening(Live(), live=True, incremental=True)
    caller.says.put_nowait({"type": "websocket.connect"})
    caller.hear(*said, "end")
    route = DialogueRoute(DialogueRow("/", surface, endpoint), house.door, house.clock, Uploads(1, 1))
    await route(scope("websocket", key=secret), caller.receive, caller.send)
    return caller.types[0], endpoint


async def test_a_secret_opens_one_call_of_its_key_with_what_was_settled(house, uploads):
    status, body = await asked(house, uploads)
    secret, expires = body.decode().split()
    assert (status, int(expires)) == (200, house.clock.unix_ms() // 1000 + 60)
    first, endpoint = await opened(house, secret)
    assert (first, endpoint.settled) == ("accept", b"settled")
    first, _ = await opened(house, secret)
    assert first == "start"


async def test_the_call_is_charged_to_the_key(house, uploads):
    _, body = await asked(house, uploads)
    await opened(house, body.decode().split()[0], said=[audio(900, 700)])
    assert {(entry.project, entry.key_id) for entry in house.ledger.entries} == {("acme", "k1")}
    assert house.charged() == {0: 1600}


async def test_a_key_settles_nothing(house):
    _, endpoint = await opened(house, "secret")
    assert endpoint.settled is None


async def test_a_secret_dies_with_its_key(house, uploads):
    _, body = await asked(house, uploads)
    house.keys.revoked = True
    first, _ = await opened(house, body.decode().split()[0])
    assert first == "start"


async def test_a_secret_is_for_its_surface_and_no_other(house, uploads):
    _, body = await asked(house, uploads)
    first, _ = await opened(house, body.decode().split()[0], "deepgram")
    assert first == "start"


async def test_a_secret_is_not_a_key(house, uploads):
    _, body = await asked(house, uploads)
    status, _ = await asked(house, uploads, key=body.decode().split()[0])
    assert status == 401


async def test_what_is_refused_is_refused_in_the_vendors_shape(house, uploads):
    def no():
        raise UnsupportedParameter("no")

    def defect():
        raise ValueError("the caller's words")

    assert (await asked(house, uploads, key=None))[0] == 401
    assert await asked(house, uploads, on_negotiate=no) == (400, b"unsupported_parameter")
    assert await asked(house, uploads, on_negotiate=defect) == (500, b"internal_error")
    assert (await asked(house, uploads, body=bytes(1001)))[0] == 413


async def test_a_secret_for_speech_that_could_not_be_signed_is_refused_at_once_where_it_must_be(house, uploads):
    house.requires_signatures()
    assert await asked(house, uploads) == (403, b"forbidden")
    assert (await asked(house, uploads, body=b"written"))[0] == 200


async def test_a_caller_who_leaves_is_answered_nothing(house, uploads):
    caller = Caller()
    caller.says.put_nowait({"type": "http.disconnect"})
    route = LookupRoute(row("openai", Secrets(None)), house.door, uploads)
    async with asyncio.timeout(60):
        await route(scope(), caller.receive, caller.send)
    assert caller.sent == []

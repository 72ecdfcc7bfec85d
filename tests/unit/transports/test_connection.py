"""Dialogues over a carrier that is neither a WebSocket nor any other: what the loop asks of one."""

import asyncio
import hmac
import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest
from vendor import Endpoint, Live

from antiphon.core.endpoints import NeedsFirst
from antiphon.core.events import Opened
from antiphon.core.identity import USUAL_SCOPES
from antiphon.core.routing import DialogueRow
from antiphon.core.sealing import PLAIN
from antiphon.core.units import BESIDE_BYTES
from antiphon.core.wire import Bearer, Close, Opening, Pending, Signed, Step
from antiphon.session.door import Door
from antiphon.stores.sqlite.directory import SqliteDirectory
from antiphon.transports import connection
from antiphon.transports.bounds import TURN_S
from antiphon.transports.connection import Connection, Gone, Over
from antiphon.transports.dialogues import Dialogues
from antiphon.transports.uploads import Uploads
from antiphon.trust.auth import KeyRing
from antiphon.trust.control import Control
from antiphon.trust.pairs import MASTER_NAME, Pairs
from session_house import audio

SPEECH = audio(900, 700)


class Carrier:
    """Notes what is done with it; a caller who has said all it has to say stays."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.done = []

    async def accept(self, headers, subprotocol):
        self.done.append("accept")

    async def receive(self):
        await asyncio.sleep(0)
        if not self.messages:
            await asyncio.Event().wait()
        if self.messages[0] is Gone:
            raise Gone
        return self.messages.pop(0)

    async def send(self, sends):
        self.done += sends

    async def close(self, close):
        self.done.append(close)


class Told(Endpoint):
    """Its clients want to be let in, told, and closed."""

    def refuse(self, opening, error):
        return Step(sends=(f"no: {error.code}",), close=Close(4001))


class Late(Endpoint):
    """The first message says how much is asked for."""

    def negotiate(self, opening, first=None):
        if first is None:
            return NeedsFirst(Live(), (("x", "y"),))
        self.settled = opening.settled
        return super().negotiate(opening)


class Later(Late):
    """And who asks."""

    def credential(self, opening, first=None):
        return Bearer(first) if first else Pending.PENDING


class Signing(Endpoint):
    """As a scheme does that sends the key along with what it signed."""

    def credential(self, opening, first=None):
        signed = bytes.fromhex(opening.headers["signature"])
        return Signed("AWS4-HMAC-SHA256", opening.headers.get("id", ""), STRING, signed, opening.headers.get("key", ""))

    def negotiate(self, opening, first=None):
        self.signed_with = opening.signed_with
        return super().negotiate(opening)


STRING = b"AWS4-HMAC-SHA256\n20260101T000000Z\n20260101/r/s/aws4_request\nhash"


def signature(secret):
    key = b"AWS4" + secret
    for part in (b"20260101", b"r", b"s", b"aws4_request", STRING):
        key = hmac.digest(key, part, "sha256")
    return key.hex()


@pytest.fixture
def serve(house):
    async def serve(endpoint, carrier, **headers):
        row = DialogueRow("/", "deepgram", endpoint)
        opening = Opening("GET", "/", headers={"authorization": "secret"} | headers, request_id=str(uuid.uuid4()))
        async with asyncio.timeout(60):
            await Dialogues(row, house.door, house.clock, Uploads(1, 1)).serve(carrier, opening)
        return carrier.done

    return serve


def made(kind, **given):
    return kind(Live(), live=True, incremental=True, **given)


async def test_a_stream(house, serve):
    accepted, text, close = await serve(made(Endpoint), Carrier(SPEECH, "end"))
    assert (accepted, text.split()[0], close) == ("accept", "one", Close(1000))
    assert house.ledger.entries[-1].kind == "completed"


async def test_nothing_is_answered_before_the_first_message_of_the_vendor(house, serve):
    class Answering(Live):
        def receive(self, message, now_ns):
            step = super().receive(message, now_ns)
            return replace(step, sends=(f"heard {message}",))

        def emit(self, event, now_ns):
            return Step(sends=("begun",)) if isinstance(event, Opened) else super().emit(event, now_ns)

    endpoint = Endpoint(Answering(), live=True, incremental=True)
    assert (await serve(endpoint, Carrier("end")))[:3] == ["accept", "begun", "heard end"]


async def test_a_large_message_that_is_still_read_counts_before_a_deadline(house, serve, monkeypatch):
    """It is read beside the event loop, and moves the deadline when it is."""
    monkeypatch.setattr(connection, "IDLE_CHECK_S", 0)
    loop = asyncio.get_running_loop()

    async def turns():
        for _ in range(100):
            await asyncio.sleep(0)

    class Patient(Live):
        def receive(self, message, now_ns):
            if len(message) > BESIDE_BYTES:
                self.deadline = now_ns
                asyncio.run_coroutine_threadsafe(turns(), loop).result()
                self.deadline = None
                return Step(sends=("read",))
            return super().receive(message, now_ns)

    endpoint = Endpoint(Patient(), live=True, incremental=True)
    assert await serve(endpoint, Carrier("x" * (BESIDE_BYTES + 1), "end")) == ["accept", "read", Close(1000)]


async def test_messages_that_came_together_are_taken_in_turns(monkeypatch):
    """Each may take a while to read."""
    turns, told, clock = 0, [], SimpleNamespace(s=0.0)
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: clock.s))

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    class Together(Carrier):
        async def receive(self):
            return self.messages.pop(0) if self.messages else await asyncio.Event().wait()

    class Slow:
        async def take(self, message):
            clock.s += TURN_S
            told.append(turns)
            if message == "end":
                raise Over

        async def tell(self):
            await asyncio.Event().wait()

        keep_time = tell

    beside = asyncio.create_task(others())
    await Connection(Together(*"abcd", "end"), "id").run(Slow())
    beside.cancel()
    assert len(set(told)) == 5


async def test_a_refusal_without_a_head_is_let_in_told_and_closed(house, serve):
    assert await serve(made(Told), Carrier(), authorization="other") == ["accept", "no: unauthenticated", Close(4001)]


async def test_what_is_asked_for_may_stand_in_the_first_message(house, serve):
    """It is the surface's, too, like every other: here it is audio."""
    done = await serve(made(Late), Carrier(SPEECH, "end"))
    assert (done[0], done[1].split()[0]) == ("accept", "one")
    assert house.charged() == {0: 1600}


async def test_so_may_the_credential(house, serve):
    assert await serve(made(Later), Carrier("secret")) == ["accept", Close(1000)]
    assert await serve(made(Later), Carrier("other")) == ["accept", "unauthenticated", Close(1008, "unauthenticated")]


async def test_a_secret_for_one_call_is_used_once_though_the_surface_is_asked_twice(house, serve):
    minted = house.sessions.secrets.mint(house.principal, "deepgram", b"settled", 60)
    endpoint = made(Late)
    done = await serve(endpoint, Carrier("end"), authorization=minted.secret)
    assert (done, endpoint.settled) == (["accept", Close(1000)], b"settled")
    assert "accept" not in await serve(made(Late), Carrier("end"), authorization=minted.secret)


async def test_who_leaves_before_the_first_message(house, serve):
    assert await serve(made(Late), Carrier(Gone)) == ["accept"]
    assert not house.ledger.entries


async def test_a_signature_lets_in_like_the_key_that_made_it(house, serve):
    endpoint = made(Signing)
    assert (await serve(endpoint, Carrier("end"), key="secret", signature=signature(b"secret")))[0] == "accept"
    assert endpoint.signed_with == "secret"
    refused = await serve(made(Signing), Carrier("end"), key="secret", signature=signature(b"another"))
    assert refused[0].status == 401


async def test_so_does_one_of_a_pair_of_that_key_while_the_key_holds(house, serve, tmp_path):
    directory = SqliteDirectory(tmp_path)
    keys, control = KeyRing(directory, house.clock), Control(directory)
    key, _ = control.create_key("default", "", USUAL_SCOPES, house.clock.unix_ms())
    house.door = Door(house.sessions, keys, house.clock, None, house.auditor, pairs=Pairs(tmp_path, PLAIN))
    early = await serve(made(Signing), Carrier("end"), id=f"ant_{key.id}", signature=signature(b""))
    id, secret = Pairs(tmp_path, PLAIN).make(key.id)
    assert (tmp_path / MASTER_NAME).stat().st_mode & 0o777 == 0o600
    good = {"id": id, "signature": signature(secret.encode())}
    assert (await serve(endpoint := made(Signing), Carrier("end"), **good))[0] == "accept"
    assert endpoint.signed_with == secret
    wrong = [
        await serve(made(Signing), Carrier("end"), id=id, signature=signature(b"another")),
        await serve(made(Signing), Carrier("end"), id="ant_00000000", signature=signature(secret.encode())),
        await serve(made(Signing), Carrier("end"), id="anything", signature=signature(secret.encode())),
        await serve(made(Signing), Carrier("end"), id="", signature=signature(secret.encode())),
    ]
    control.revoke_key(key.id, house.clock.unix_ms())
    house.clock.advance_ms(1_000)
    keys.refresh()
    wrong.append(await serve(made(Signing), Carrier("end"), **good))
    assert [step[0].status for step in (early, *wrong)] == [401] * 6
    keys.close()

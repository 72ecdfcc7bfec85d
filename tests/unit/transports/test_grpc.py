"""The carrier of gRPC, by `grpc`'s own client and real sockets, on a house of fakes."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from antiphon.routes import GRPC_DESCRIPTORS, GRPC_ROUTES
from antiphon.surfaces.google.dialect import V2
from antiphon.surfaces.google.messages import kind, read
from antiphon.transports.connections import Connections
from antiphon.transports.grpc import (
    METADATA_BYTES,
    MOST_MESSAGE_BYTES,
    PING_STRIKES,
    GrpcListener,
    GrpcService,
    Place,
    _address,
)
from antiphon.transports.uploads import Uploads
from http2_peer import DATA, END_HEADERS, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, Peer
from session_house import audio, closed, until

STREAM = "/google.cloud.speech.v2.Speech/StreamingRecognize"
CALL = "/google.cloud.speech.v2.Speech/Recognize"
NAME = "projects/p/locations/global/recognizers/_"
KEY = (("x-goog-api-key", "secret"),)
CONFIG = {"explicit_decoding_config": {"encoding": "LINEAR16", "sample_rate_hertz": 16000}, "model": "tiny"}
SPEECH = audio(900, 700)


def first():
    request = kind(V2.name("StreamingRecognizeRequest"))
    return request(recognizer=NAME, streaming_config={"config": CONFIG}).SerializeToString()


def spoken(pcm):
    request = kind(V2.name("StreamingRecognizeRequest"))
    return [request(audio=pcm[at : at + 3200]).SerializeToString() for at in range(0, len(pcm), 3200)]


class Served:
    def __init__(self, most=100, per_address=100):
        self.places = Connections(most, per_address)
        self.trouble = None
        self.port = 0


@asynccontextmanager
async def serving(house, served):
    uploads = Uploads(1 << 20, 1 << 22)
    rows, descriptors = GRPC_ROUTES, GRPC_DESCRIPTORS()
    service = GrpcService(rows, descriptors, house.door, house.clock, uploads, served.places, lambda: served.trouble)
    listener = GrpcListener(service, Place("127.0.0.1", 0))
    await listener.start()
    served.port = listener.port
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
            yield channel
    finally:
        listener.stop_accepting()
        await listener.finish(0.5)


async def code_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


async def test_a_stream_is_transcribed_and_charged(house):
    async with serving(house, Served()) as channel:
        call = channel.stream_stream(STREAM)(iter([first(), *spoken(SPEECH)]), metadata=KEY)
        said = [read(V2.name("StreamingRecognizeResponse"), message) async for message in call]
        assert await call.code() is grpc.StatusCode.OK
    await closed()
    assert said[0].results[0].alternatives[0].transcript.startswith("one two")
    assert said[-1].metadata.total_billed_duration.ToMilliseconds() == 1600
    assert {entry.surface for entry in house.ledger.entries} == {"google"}
    assert sum(entry.quantity.amount for entry in house.ledger.entries) == 1600


async def test_nothing_is_read_of_whom_nobody_knows(house):
    async with serving(house, Served()) as channel:
        read_from = []

        async def messages():
            read_from.append(1)
            yield bytes(5 << 20)

        call = channel.stream_stream(STREAM)(messages(), metadata=(("x-goog-api-key", "wrong"),))
        assert await code_of(call.read()) is grpc.StatusCode.UNAUTHENTICATED
        assert await code_of(channel.unary_unary(CALL)(b"")) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_call_without_a_message(house):
    async with serving(house, Served()) as channel:
        call = channel.stream_unary(CALL)(iter(()), metadata=KEY)
        assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT
        call = channel.stream_stream(STREAM)(iter(()), metadata=KEY)
        assert await code_of(call.read()) is grpc.StatusCode.INVALID_ARGUMENT


async def test_calls_are_counted_and_one_address_has_its_share(house):
    served = Served(per_address=1)
    async with serving(house, served) as channel:
        held = channel.stream_stream(STREAM)(metadata=KEY)
        await held.write(first())
        await until(lambda: len(served.places) == 1)
        second = channel.stream_stream(STREAM)(metadata=KEY)
        assert await code_of(second.read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.cancel()
        await until(lambda: len(served.places) == 0)
        assert served.places.refused == 1


async def test_who_says_nothing_gives_way(house):
    """One who has said something does not."""
    served = Served(most=2)
    async with serving(house, served) as channel:
        busy = channel.stream_stream(STREAM)(metadata=KEY)
        await busy.write(first())
        await until(lambda: not served.places._idle and len(served.places) == 1)
        silent = channel.stream_stream(STREAM)(metadata=KEY)
        await silent.wait_for_connection()
        await until(lambda: len(served.places) == 2)
        third = channel.stream_stream(STREAM)(metadata=KEY)
        await third.wait_for_connection()
        assert await code_of(silent.read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.places.dropped == 1
        await busy.done_writing()
        await busy.read()
        assert await busy.code() is grpc.StatusCode.OK
        third.cancel()


def heard_ms(house):
    return sum(channel.arrivals.received // 16 for session in house.sessions.all for channel in session._channels)


async def test_a_caller_who_goes_is_charged_what_was_heard(house):
    async with serving(house, Served()) as channel:
        call = channel.stream_stream(STREAM)(metadata=KEY)
        for message in (first(), *spoken(SPEECH[:9600])):
            await call.write(message)
        await until(lambda: heard_ms(house) == 300)
        call.cancel()
        await until(lambda: bool(house.ledger.entries))
    await closed()
    assert sum(entry.quantity.amount for entry in house.ledger.entries) == 300


async def test_a_deadline_ends_a_call_which_is_charged_for_what_was_heard(house):
    served = Served()
    async with serving(house, served) as channel:
        call = channel.stream_stream(STREAM)(metadata=KEY, timeout=0.7)
        for message in (first(), *spoken(SPEECH[:9600])):
            await call.write(message)
        assert await code_of(call.read()) is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: bool(house.ledger.entries) and not len(served.places))
    await closed()
    assert sum(entry.quantity.amount for entry in house.ledger.entries) == 300


async def test_a_recording_whose_caller_cancels_costs_nothing(house):
    served = Served()
    request = kind(V2.name("RecognizeRequest"))(recognizer=NAME, config=CONFIG, uri="https://example.com/a.raw")
    async with serving(house, served) as channel:
        call = channel.unary_unary(CALL)(request.SerializeToString(), metadata=KEY)
        await until(lambda: bool(house.fetcher.urls))
        assert call.cancel()
        await until(lambda: not len(served.places))
    await closed()
    assert not house.charged()


async def test_a_method_that_there_is_not(house):
    async with serving(house, Served()) as channel:
        for method in ("/google.cloud.speech.v2.Speech/Nothing", "/google.cloud.speech.v3.Speech/Recognize", "/x/y"):
            assert await code_of(channel.unary_unary(method)(b"", metadata=KEY)) is grpc.StatusCode.UNIMPLEMENTED


async def test_metadata_and_messages_are_bounded(house):
    async with serving(house, Served()) as channel:
        large = (*KEY, ("x-large", "x" * (METADATA_BYTES + 1)))
        assert await code_of(channel.unary_unary(CALL)(b"", metadata=large)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        call = channel.unary_unary(CALL)(bytes(MOST_MESSAGE_BYTES + 1), metadata=KEY)
        assert await code_of(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
        lookup = channel.unary_unary("/google.longrunning.Operations/GetOperation")
        assert await code_of(lookup(bytes((1 << 20) + 1), metadata=KEY)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_who_pings_too_often_is_sent_away(house):
    served = Served()

    def pings():
        with Peer(f"http://127.0.0.1:{served.port}") as peer:
            for _ in range(PING_STRIKES + 2):
                peer.send(PING, payload=bytes(8))
            return peer.next(GOAWAY)

    async with serving(house, served) as channel:
        gone = await asyncio.to_thread(pings)
        assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"") == b"\x08\x01"
    assert (gone.code, gone.payload[8:]) == (ENHANCE_YOUR_CALM, b"too_many_pings")


async def test_a_client_that_vanishes_is_charged_what_was_heard(house):
    """Its connection is gone, with no word of its own."""
    served, heard = Served(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def vanish():
        with Peer(f"http://127.0.0.1:{served.port}") as peer:
            fields = (("content-type", "application/grpc"), ("te", "trailers"), *KEY)
            peer.send(HEADERS, END_HEADERS, 1, peer.block("POST", STREAM, fields))
            for message in (first(), *spoken(SPEECH[:9600])):
                peer.send(DATA, 0, 1, b"\0" + len(message).to_bytes(4) + message)
            asyncio.run_coroutine_threadsafe(heard.wait(), loop).result(10)

    async with serving(house, served):
        gone = asyncio.create_task(asyncio.to_thread(vanish))
        await until(lambda: bool(house.sessions.all))
        await until(lambda: heard_ms(house) == 300)
        heard.set()
        await gone
        await until(lambda: not len(served.places))
    await closed()
    assert sum(entry.quantity.amount for entry in house.ledger.entries) == 300


async def test_health_can_be_watched(house, monkeypatch):
    monkeypatch.setattr("antiphon.transports.grpc.WATCHED_S", 0.01)
    served = Served()
    async with serving(house, served) as channel:
        call = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert await call.read() == b"\x08\x01"
        served.trouble = "the ledger is gone"
        assert await call.read() == b"\x08\x02"
        served.trouble = None
        assert await call.read() == b"\x08\x01"
        unknown = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\x01x")
        assert await unknown.read() == b"\x08\x03"
        assert len(served.places) == 2
        call.cancel()
        unknown.cancel()
        await until(lambda: not len(served.places))
    few = Served(most=1)
    async with serving(house, few) as channel:
        call = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        await call.read()
        busy = channel.stream_stream(STREAM)(metadata=KEY)
        await busy.write(first())
        assert await code_of(call.read()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await busy.done_writing()


async def test_health(house):
    served = Served()
    async with serving(house, served) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"") == b"\x08\x01"
        served.trouble = "the ledger is gone"
        assert await check(b"") == b"\x08\x02"
        assert await code_of(check(b"\x0a\x01x")) is grpc.StatusCode.NOT_FOUND
        assert await code_of(channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/X")(b"")) is (
            grpc.StatusCode.UNIMPLEMENTED
        )


@pytest.mark.parametrize(
    ("peer", "address"), [("ipv4:127.0.0.1:4000", "127.0.0.1"), ("ipv6:%5B::1%5D:4000", "::1"), ("unix:", "")]
)
def test_addresses(peer, address):
    assert _address(peer) == address


async def test_a_port_that_is_taken_is_said(house):
    async with serving(house, Served()) as channel:
        del channel
        service = GrpcService((), GRPC_DESCRIPTORS(), house.door, house.clock, Uploads(1, 1), Connections(1, 1), str)
        with pytest.raises(OSError, match="gRPC cannot listen"):
            await GrpcListener(service, Place("203.0.113.1", 0)).start()

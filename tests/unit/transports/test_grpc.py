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
from antiphon.transports.grpc import GrpcListener, GrpcService, Place, _address
from antiphon.transports.uploads import Uploads
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


@asynccontextmanager
async def serving(house, served):
    uploads = Uploads(1 << 20, 1 << 22)
    rows, descriptors = GRPC_ROUTES, GRPC_DESCRIPTORS()
    service = GrpcService(rows, descriptors, house.door, house.clock, uploads, served.places, lambda: served.trouble)
    listener = GrpcListener(service, Place("127.0.0.1", 0))
    await listener.start()
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


async def test_a_caller_who_goes_is_charged_what_was_heard(house):
    async with serving(house, Served()) as channel:
        call = channel.stream_stream(STREAM)(metadata=KEY)
        for message in (first(), *spoken(SPEECH[:9600])):
            await call.write(message)
        await asyncio.sleep(0.5)  # until it was heard
        call.cancel()
        await until(lambda: bool(house.ledger.entries))
    await closed()
    assert sum(entry.quantity.amount for entry in house.ledger.entries) == 300


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

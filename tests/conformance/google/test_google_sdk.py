"""Google's official SDK, unmodified, against the real server and models over real sockets."""

import threading
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import speech_v1, speech_v2
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as TransportV1
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport, SpeechGrpcTransport
from google.rpc import error_details_pb2
from google_requests import NAME, Key, chunks, config_v2, speech_v2_requests

from serving import API_KEY

pytestmark = pytest.mark.long

SAID = ("ever tried", "fail better")


@pytest.fixture
def client(channel: grpc.Channel) -> speech_v2.SpeechClient:
    return speech_v2.SpeechClient(transport=SpeechGrpcTransport(channel=channel))


@pytest.fixture
def client_v1(channel: grpc.Channel) -> speech_v1.SpeechClient:
    return speech_v1.SpeechClient(transport=TransportV1(channel=grpc.intercept_channel(channel, Key(API_KEY))))


def text_of(results: Any) -> str:
    return " ".join(result.alternatives[0].transcript.strip() for result in results).lower()


# -- live --------------------------------------------------------------------------------------------------------------


def test_a_stream_of_v2(google: Any, client: speech_v2.SpeechClient, pcm: bytes):
    before = len(google.ended())
    call = client.streaming_recognize(requests=speech_v2_requests(pcm, pace_s=0.02), metadata=google.key)
    said = list(call)
    results = [result for response in said for result in response.results]
    finals, interims = [r for r in results if r.is_final], [r for r in results if not r.is_final]
    assert SAID[0] in text_of(finals)
    assert interims
    assert all(0 < interim.stability < 1 for interim in interims)
    kinds = speech_v2.StreamingRecognizeResponse.SpeechEventType
    events = [response.speech_event_type for response in said if response.speech_event_type]
    assert events[0] == kinds.SPEECH_ACTIVITY_BEGIN
    assert kinds.SPEECH_ACTIVITY_END in events
    words = [word for final in finals for word in final.alternatives[0].words]
    assert [word.start_offset for word in words] == sorted(word.start_offset for word in words)
    assert all(0 < word.confidence <= 1 for word in words)
    assert words[-1].end_offset <= finals[-1].result_end_offset
    billed = said[-1].metadata
    ended = google.next_end(before)
    assert ended["session"] == billed.request_id
    assert ended["charged"] == {"stt.audio_ms": round(billed.total_billed_duration.total_seconds() * 1000)}
    assert (ended["surface"], ended["outcome"]) == ("google", "completed")
    assert ("antiphon-no-effect", "features.enable_spoken_emojis") in call.trailing_metadata()


async def test_a_stream_of_v2_with_asyncio(google: Any, pcm: bytes):
    async with grpc.aio.insecure_channel(google.address) as channel:
        client = speech_v2.SpeechAsyncClient(transport=SpeechGrpcAsyncIOTransport(channel=channel))

        async def requests() -> AsyncIterator[speech_v2.StreamingRecognizeRequest]:
            for request in speech_v2_requests(pcm):
                yield request

        stream = await client.streaming_recognize(requests=requests(), metadata=google.key)
        said = [response async for response in stream]
    assert SAID[0] in text_of(r for response in said for r in response.results if r.is_final)
    assert said[-1].metadata.request_id


def test_a_stream_of_v1(google: Any, client_v1: speech_v1.SpeechClient, pcm: bytes):
    config = speech_v1.RecognitionConfig(encoding="LINEAR16", sample_rate_hertz=16_000, language_code="en-US")
    streaming = speech_v1.StreamingRecognitionConfig(config=config, interim_results=True)
    # One message may be larger than in v2: Node's client does not split them.
    audio = (speech_v1.StreamingRecognizeRequest(audio_content=piece) for piece in chunks(pcm, 40_000))
    said = list(client_v1.streaming_recognize(config=streaming, requests=audio))
    assert SAID[0] in text_of(r for response in said for r in response.results if r.is_final)
    assert said[-1].total_billed_time.total_seconds() == len(pcm) // 32 / 1000
    assert said[-1].request_id


def test_one_utterance_of_v1(google: Any, client_v1: speech_v1.SpeechClient, pcm: bytes):
    config = speech_v1.RecognitionConfig(encoding="LINEAR16", sample_rate_hertz=16_000, language_code="en-US")
    streaming = speech_v1.StreamingRecognitionConfig(config=config, single_utterance=True)

    def audio() -> Iterator[speech_v1.StreamingRecognizeRequest]:
        for piece in chunks(pcm + bytes(64_000), 6_400):
            yield speech_v1.StreamingRecognizeRequest(audio_content=piece)
            time.sleep(0.05)

    said = list(client_v1.streaming_recognize(config=streaming, requests=audio()))
    single = speech_v1.StreamingRecognizeResponse.SpeechEventType.END_OF_SINGLE_UTTERANCE
    assert [r.speech_event_type for r in said if r.speech_event_type] == [single]
    assert sum(1 for response in said for result in response.results if result.is_final) == 1


# -- recordings --------------------------------------------------------------------------------------------------------


def test_recordings(google: Any, client: speech_v2.SpeechClient, client_v1: speech_v1.SpeechClient, beckett: Path):
    request = speech_v2.RecognizeRequest(recognizer=NAME, config=config_v2(auto=True), content=beckett.read_bytes())
    heard = client.recognize(request=request, metadata=google.key)
    assert SAID[0] in text_of(heard.results)
    assert heard.metadata.total_billed_duration.total_seconds() == pytest.approx(9.963)
    older = client_v1.recognize(
        config=speech_v1.RecognitionConfig(language_code="en-US"),
        audio=speech_v1.RecognitionAudio(content=beckett.read_bytes()),
    )
    assert text_of(older.results).replace(",", "") == text_of(heard.results).replace(",", "").replace(".", "")


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_recordings_over_rest(google: Any, beckett: Path, version: str):
    options = {"api_endpoint": google.url, "api_key": API_KEY}
    if version == "v2":
        client = speech_v2.SpeechClient(transport="rest", client_options=options)
        request = speech_v2.RecognizeRequest(recognizer=NAME, config=config_v2(auto=True), content=beckett.read_bytes())
        assert SAID[0] in text_of(client.recognize(request=request).results)
        request.recognizer = NAME.replace("_", "mine")
        with pytest.raises(exceptions.NotFound):
            client.recognize(request=request)
        return
    older = speech_v1.SpeechClient(transport="rest", client_options=options)
    config = speech_v1.RecognitionConfig(language_code="en-US")
    audio = speech_v1.RecognitionAudio(content=beckett.read_bytes())
    assert SAID[0] in text_of(older.recognize(config=config, audio=audio).results)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_keys(google: Any, client: speech_v2.SpeechClient):
    request = speech_v2.RecognizeRequest(recognizer=NAME, config=config_v2(auto=True), content=b"1234")
    with pytest.raises(exceptions.Unauthenticated) as refused:
        client.recognize(request=request, metadata=[("x-goog-api-key", "nobody's")])
    assert (refused.value.reason, refused.value.domain) == ("API_KEY_INVALID", "googleapis.com")
    with pytest.raises(exceptions.Unauthenticated) as refused:
        list(client.streaming_recognize(requests=speech_v2_requests(b"1234")))
    assert refused.value.reason == "CREDENTIALS_MISSING"
    with pytest.raises(exceptions.InvalidArgument):  # let in, by the other header; this is no audio
        client.recognize(request=request, metadata=[("authorization", f"Bearer {API_KEY}")])


def test_what_is_wrong_is_named(google: Any, client: speech_v2.SpeechClient):
    request = speech_v2.RecognizeRequest(recognizer=NAME, config=config_v2(auto=True), content=b"1234")
    request.config.language_codes = ["fr-FR"]
    with pytest.raises(exceptions.InvalidArgument) as refused:
        client.recognize(request=request, metadata=google.key)
    violations = next(d for d in refused.value.details if isinstance(d, error_details_pb2.BadRequest)).field_violations
    assert [violation.field for violation in violations] == ["language_codes"]
    request.config = config_v2(auto=True)
    request.config.model = "nothing"
    with pytest.raises(exceptions.InvalidArgument, match="nothing"):
        client.recognize(request=request, metadata=google.key)


def test_large_messages(google: Any, client: speech_v2.SpeechClient):
    with pytest.raises(exceptions.InvalidArgument, match="25600"):
        list(client.streaming_recognize(requests=speech_v2_requests(bytes(25_601), 25_601), metadata=google.key))
    content = bytes((10 << 20) + 1)
    request = speech_v2.RecognizeRequest(recognizer=NAME, config=config_v2(auto=True), content=content)
    with pytest.raises(exceptions.InvalidArgument, match="10485760"):
        client.recognize(request=request, metadata=google.key)
    request.content = bytes(13 << 20)
    with pytest.raises(exceptions.ResourceExhausted):
        client.recognize(request=request, metadata=google.key)


def test_what_is_not_served(google: Any, client: speech_v2.SpeechClient, channel: grpc.Channel):
    parent = NAME.rpartition("/recognizers/")[0]
    with pytest.raises(exceptions.MethodNotImplemented, match="not stored"):
        client.get_config(name=f"{parent}/config", metadata=google.key)
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/google.cloud.speech.v2.Speech/Nothing")(b"", metadata=google.key)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_a_call_may_not_be(google: Any, channel: grpc.Channel):
    method = "/google.cloud.speech.v2.Speech/Recognize"
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(b"\xff", metadata=google.key)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError):
        channel.unary_unary(method)(b"", metadata=[*google.key, ("x-large", "x" * 60_000)])
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(bytes(10_000), metadata=google.key, compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_more_streams_than_there_is_room_for(google: Any, client: speech_v2.SpeechClient, pcm: bytes):
    """Each is told when to come again; those that are there go on."""
    before = len(google.ended())
    over = threading.Event()

    def held() -> Iterator[speech_v2.StreamingRecognizeRequest]:
        yield from islice(speech_v2_requests(pcm), 31)  # so that there is an answer, for which the SDK waits
        over.wait(20)

    calls = [client.streaming_recognize(requests=held(), metadata=google.key) for _ in range(6)]
    time.sleep(1)
    with pytest.raises(exceptions.ResourceExhausted) as refused:
        list(client.streaming_recognize(requests=speech_v2_requests(pcm), metadata=google.key))
    delays = [d.retry_delay.seconds for d in refused.value.details if isinstance(d, error_details_pb2.RetryInfo)]
    assert delays
    assert delays[0] >= 1
    over.set()
    assert all(list(call)[-1].metadata.request_id for call in calls)
    google.next_end(before + 5)


@pytest.mark.parametrize("how", ["cancel", "deadline", "vanish"])
def test_a_client_that_goes(google: Any, pcm: bytes, how: str):
    """What was heard is charged, once, and the place is free."""
    before = len(google.ended())
    over = threading.Event()

    def held() -> Iterator[speech_v2.StreamingRecognizeRequest]:
        yield from islice(speech_v2_requests(pcm), 31)
        over.wait(20)

    channel = grpc.insecure_channel(google.address)
    client = speech_v2.SpeechClient(transport=SpeechGrpcTransport(channel=channel))
    timeout = 4 if how == "deadline" else None
    call = client.streaming_recognize(requests=held(), metadata=google.key, timeout=timeout)
    threading.Timer(1.5, call.cancel if how == "cancel" else channel.close if how == "vanish" else lambda: None).start()
    expected = {"cancel": exceptions.Cancelled, "deadline": exceptions.DeadlineExceeded, "vanish": exceptions.Cancelled}
    with pytest.raises(expected[how]):
        list(call)
    ended = google.next_end(before)
    assert (ended["outcome"], ended["charged"]) == ("abandoned", {"stt.audio_ms": 3000})
    over.set()
    channel.close()


# -- for operators -----------------------------------------------------------------------------------------------------


def test_health_and_reflection(google: Any, channel: grpc.Channel):
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"") == b"\x08\x01"
    assert check(b"\x0a\x1dgoogle.cloud.speech.v2.Speech") == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as refused:
        check(b"\x0a\x01x")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    described = ProtoReflectionDescriptorDatabase(channel)
    assert "google.cloud.speech.v2.Speech" in described.get_services()
    assert described.FindFileContainingSymbol("google.cloud.speech.v2.Speech").package == "google.cloud.speech.v2"

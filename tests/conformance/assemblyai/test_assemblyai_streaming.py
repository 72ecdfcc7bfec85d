"""AssemblyAI's streaming SDK, with threads and with asyncio, against the real server and its models."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    BeginEvent,
    Encoding,
    HeartbeatEvent,
    SilenceEvent,
    SpeechStartedEvent,
    StreamingClient,
    StreamingClientOptions,
    StreamingError,
    StreamingEvents,
    StreamingParameters,
    StreamingSessionParameters,
    TerminationEvent,
    TurnEvent,
    WarningEvent,
)
from assemblyai_speech import speak

from encoded import encode, opus_packets
from tls import Terminated, terminated

RATE = 16_000
PIECE = RATE * 2 // 10  # bytes of 100 ms
SILENCE = bytes(2 * RATE * 2)  # two seconds
PACE = 4  # times as fast as speech
PATIENCE_S = 20

Said = bytes | Callable[[Any], Any]


def pieces(audio: bytes) -> Iterator[bytes]:
    return (audio[at : at + PIECE] for at in range(0, len(audio), PIECE))


def options(server: Any, **given: Any) -> StreamingClientOptions:
    return StreamingClientOptions(**{"api_host": server.ws_url, "api_key": server.api_key, **given})


class Listener:
    """A client with threads, and everything that it was told."""

    def __init__(self, given: StreamingClientOptions) -> None:
        self.client = StreamingClient(given)
        self.told: list[Any] = []
        self.over = threading.Event()
        for event in StreamingEvents:
            self.client.on(event, self._hear)

    def _hear(self, client: Any, event: Any) -> None:
        self.told.append(event)
        if isinstance(event, TerminationEvent | StreamingError):
            self.over.set()

    def listen(self, said: Sequence[Said], *, end: bool = True, **asked: Any) -> list[Any]:
        """Says all of it, audio at a pace, until the end."""
        self.client.connect(StreamingParameters(**{"sample_rate": RATE, **asked}))
        for each in said:
            if isinstance(each, bytes):
                for piece in pieces(each):
                    self.client.stream(piece)
                    time.sleep(0.1 / PACE)
            else:
                each(self.client)
        if end:
            time.sleep(0.5)  # what was said last is still being recognised
            self.client.disconnect(terminate=True)
        assert self.over.wait(PATIENCE_S)
        return self.told

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]


@pytest.fixture
def listener(server: Any) -> Listener:
    return Listener(options(server))


def check_turns(turns: Sequence[TurnEvent], formatted: bool) -> list[TurnEvent]:
    """What is final stays, turns are counted, and each has one end. The formatted ends, or the plain ones."""
    order, final, ends = 0, [], []
    for turn in turns:
        assert turn.turn_order == order
        words = [word for word in turn.words if word.word_is_final]
        if turn.turn_is_formatted:
            assert turn.end_of_turn
            ends.append(turn)
            order, final = order + 1, []
            continue
        assert turn.transcript == " ".join(word.text for word in words)
        assert words[: len(final)] == final
        final = words
        if turn.end_of_turn:
            assert len(words) == len(turn.words)
            assert all(word.start <= word.end for word in words)
            if not formatted:
                ends.append(turn)
                order, final = order + 1, []
    return ends


def test_two_turns(payer: Any, server: Any, sentence: bytes) -> None:
    listener = Listener(options(server, api_key=payer.key))

    def ended(_: Any) -> None:
        """Waits: the end of a stream ends a turn, too, but is not sure that nothing more comes."""
        by = time.monotonic() + PATIENCE_S
        while sum(turn.turn_is_formatted for turn in listener.of(TurnEvent)) < 2 and time.monotonic() < by:
            time.sleep(0.05)

    told = listener.listen([sentence, SILENCE, sentence, SILENCE, ended], format_turns=True)
    assert isinstance(told[0], BeginEvent)
    assert told[0].configuration.model
    assert told[0].expires_at.timestamp() > time.time() + 10_000
    ends = check_turns(listener.of(TurnEvent), formatted=True)
    assert len(ends) == 2
    assert all(turn.transcript.startswith("The ship was painted blue") for turn in ends)
    assert all(turn.end_of_turn_confidence >= 0.4 for turn in ends)
    partials = [turn for turn in listener.of(TurnEvent) if not turn.end_of_turn]
    assert partials
    assert any(not word.word_is_final for turn in partials for word in turn.words)
    assert len(listener.of(SpeechStartedEvent)) == 2
    (ended,) = listener.of(TerminationEvent)
    audio_ms = (len(sentence) * 2 + len(SILENCE) * 2) // 32
    assert abs(ended.audio_duration_seconds * 1000 - audio_ms) <= 501
    assert payer.charged_ms() == audio_ms
    (open_ms,) = (amount for _, dimension, amount in payer.entries() if dimension == "stt.session_ms")
    assert open_ms > (ended.session_duration_seconds - 1) * 1000
    assert payer.entries()[-1][0] == "completed"


def test_plain_turns_have_no_punctuation(listener: Listener, sentence: bytes) -> None:
    listener.listen([sentence, SILENCE])
    (end,) = check_turns(listener.of(TurnEvent), formatted=False)
    assert end.transcript == "the ship was painted blue"


def test_what_was_said_last_comes_before_the_termination(listener: Listener, sentence: bytes) -> None:
    told = listener.listen([sentence], format_turns=True)
    assert isinstance(told[-1], TerminationEvent)
    assert told[-2].turn_is_formatted
    assert told[-2].transcript.startswith("The ship was painted")


def chunks(audio: bytes, size: int) -> list[bytes]:
    return [audio[at : at + size] for at in range(0, len(audio), size)]


ENCODERS: dict[Encoding, Callable[[bytes], list[bytes]]] = {
    Encoding.opus: opus_packets,
    Encoding.ogg_opus: lambda pcm: chunks(encode(pcm, "ogg-opus"), 400),
    Encoding.aac: lambda pcm: chunks(encode(pcm, "aac"), 400),
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_encodings(listener: Listener, sentence: bytes, encoding: Encoding) -> None:
    said = ENCODERS[encoding](sentence)
    listener.listen([lambda client: client.stream(said)], encoding=encoding, sample_rate=None)
    text = " ".join(end.transcript for end in check_turns(listener.of(TurnEvent), formatted=False))
    assert "ship was painted" in text


def test_the_telephone(listener: Listener, server: Any) -> None:
    spoken = speak(server, encoding="mulaw", sample_rate="8000")
    listener.listen([lambda client: client.stream(chunks(spoken, 800))], encoding="pcm_mulaw", sample_rate=8_000)
    assert "ship was painted" in check_turns(listener.of(TurnEvent), formatted=False)[0].transcript


def test_the_caller_ends_a_turn(listener: Listener, sentence: bytes) -> None:
    asked: dict[str, Any] = {"end_of_turn_confidence_threshold": 1.0, "max_turn_silence": 60_000}
    listener.listen([sentence, lambda client: client.force_endpoint(), SILENCE], **asked)
    (end,) = check_turns(listener.of(TurnEvent), formatted=False)
    assert end.end_of_turn_confidence == 1.0


def test_parameters_are_changed_in_mid_stream(listener: Listener, sentence: bytes) -> None:
    asked: dict[str, Any] = {"end_of_turn_confidence_threshold": 1.0, "max_turn_silence": 60_000}
    faster = StreamingSessionParameters(max_turn_silence=700, format_turns=True, keyterms_prompt=["ship"])
    listener.listen([lambda client: client.set_params(faster), sentence, SILENCE, sentence, SILENCE], **asked)
    assert len(check_turns(listener.of(TurnEvent), formatted=True)) == 2
    (warned,) = listener.of(WarningEvent)
    assert "keyterms_prompt" in warned.warning


def test_what_has_no_effect_is_named(listener: Listener) -> None:
    listener.listen([], speaker_labels=True, keyterms_prompt=["a", "b c"], filter_profanity=True)
    assert [("keyterms_prompt" in w.warning, "speaker_labels" in w.warning) for w in listener.of(WarningEvent)] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"redact_pii": True, "redact_pii_policies": ["occupation"]}, "occupation"),
        ({"language_codes": ["de"]}, "'de'"),
        ({"inactivity_timeout": 1}, "inactivity_timeout"),
        ({"webhook_url": "https://example.org"}, "webhook_url"),
        ({"min_turn_silence": -5}, "min_turn_silence"),
    ],
)
def test_what_is_refused(listener: Listener, asked: dict[str, Any], words: str) -> None:
    listener.listen([], end=False, **asked)
    (error,) = listener.told
    assert (error.code, words in str(error)) == (4101, True)
    listener.client.disconnect()


def test_a_model_that_is_not_there(server: Any) -> None:
    listener = Listener(options(server))
    asked = StreamingParameters.model_construct(sample_rate=RATE, speech_model="universal-99")
    listener.client.connect(asked)
    assert listener.over.wait(PATIENCE_S)
    assert listener.told[0].code == 4101
    assert "universal-99" in str(listener.told[0])
    listener.client.disconnect()


@pytest.mark.parametrize("key", ["wrong", "ek_" + "0" * 64])
def test_a_wrong_key(server: Any, key: str) -> None:
    listener = Listener(options(server, api_key=key))
    began = time.monotonic()
    listener.listen([], end=False)
    (error,) = listener.told
    assert error.code == 4001
    assert time.monotonic() - began < 5
    listener.client.disconnect()


def test_pieces_that_are_too_long(listener: Listener) -> None:
    listener.listen([lambda client: client.stream(bytes(RATE * 2 + 2))], end=False)
    assert [event.code for event in listener.told if isinstance(event, StreamingError)] == [3007]
    listener.client.disconnect()


def test_silence_and_the_heart_of_a_session(listener: Listener, sentence: bytes) -> None:
    begun = StreamingSessionParameters(session_heartbeat=True)
    said = [lambda client: client.set_params(begun), *[SILENCE] * 5, sentence, *[SILENCE] * 6]
    listener.listen(said, acknowledge_silence=True, end_of_turn_confidence_threshold=1.0, max_turn_silence=400)
    heartbeats, silences = listener.of(HeartbeatEvent), listener.of(SilenceEvent)
    assert heartbeats[0].max_speech_probability > 0.5
    assert heartbeats[0].total_duration_ms == pytest.approx(5_000, abs=300)
    assert heartbeats[0].realtime_factor == pytest.approx(PACE, rel=0.3)
    assert heartbeats[0].total_audio_received_ms >= heartbeats[0].total_duration_ms * 2
    (turn,) = check_turns(listener.of(TurnEvent), formatted=False)
    before = [each for each in silences if each.end_ms <= turn.words[0].start]
    after = [each for each in silences if each.start_ms >= turn.words[-1].end]
    assert before + after == silences  # no word is in one
    assert before[0].start_ms == 0
    for part in (before, after):
        assert [each.end_ms for each in part[:-1]] == [each.start_ms for each in part[1:]]
    assert after[-1].end_ms - after[0].start_ms >= 6_000
    assert not listener.of(WarningEvent)


def test_what_was_heard_before_a_limit_of_time_comes_before_the_error(payer: Any, server: Any, sentence: bytes) -> None:
    listener = Listener(options(server, api_key=payer.key))
    asked: dict[str, Any] = {"end_of_turn_confidence_threshold": 1.0, "max_turn_silence": 60_000}
    listener.listen([sentence], end=False, inactivity_timeout=5, **asked)
    (turn,) = check_turns(listener.of(TurnEvent), formatted=False)
    assert turn.transcript == "the ship was painted blue"
    error = listener.told[-1]
    assert isinstance(error, StreamingError)
    assert error.code == 4031
    assert payer.charged_ms() == len(sentence) // 32
    listener.client.disconnect()


def test_nobody_says_anything(listener: Listener) -> None:
    began = time.monotonic()
    listener.listen([lambda client: time.sleep(2), lambda client: client.keep_alive()], end=False, inactivity_timeout=5)
    assert [event.code for event in listener.told if isinstance(event, StreamingError)] == [4031]
    assert time.monotonic() - began >= 7
    listener.client.disconnect()


def test_a_client_that_vanishes_pays_for_what_was_heard(payer: Any, server: Any, sentence: bytes) -> None:
    async def vanish() -> None:
        url = f"{server.ws_url}/v3/ws?sample_rate={RATE}"
        socket = await websockets.connect(url, additional_headers={"authorization": payer.key})
        for piece in pieces(sentence):
            await socket.send(piece)
        await asyncio.sleep(1)
        socket.transport.abort()

    asyncio.run(vanish())
    assert payer.entries()[-1][0] == "abandoned"
    assert payer.charged_ms() == len(sentence) // 32


def test_a_key_that_is_revoked_ends_its_streams(payer: Any, server: Any, sentence: bytes) -> None:
    listener = Listener(options(server, api_key=payer.key))
    listener.listen([sentence, lambda client: payer.revoke()], end=False)
    assert [event.code for event in listener.told if isinstance(event, StreamingError)] == [4001]
    listener.client.disconnect()


async def test_with_asyncio(server: Any, sentence: bytes) -> None:
    client = AsyncStreamingClient(options(server))
    told: list[Any] = []

    async def hear(_: Any, event: Any) -> None:
        told.append(event)

    for event in StreamingEvents:
        client.on(event, hear)
    await client.connect(StreamingParameters(sample_rate=RATE, format_turns=True))
    for piece in pieces(sentence + SILENCE):
        await client.stream(piece)
        await asyncio.sleep(0.1 / PACE)
    await client.force_endpoint()
    await client.set_params(StreamingSessionParameters(min_turn_silence=300))
    await asyncio.sleep(0.5)
    await client.disconnect(terminate=True)
    (end,) = check_turns([event for event in told if isinstance(event, TurnEvent)], formatted=True)
    assert end.transcript.startswith("The ship was painted")
    assert isinstance(told[-1], TerminationEvent)


# -- temporary tokens --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminated]:
    folder: Path = tmp_path_factory.mktemp("tls")
    with terminated(int(server.base_url.rpartition(":")[2]), folder) as front:
        yield front


def test_a_token_opens_one_stream(
    server: Any, secure: Terminated, sentence: bytes, payer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.trusted))
    host = f"127.0.0.1:{secure.port}"
    maker = StreamingClient(StreamingClientOptions(api_host=host, api_key=payer.key))
    token = maker.create_temporary_token(expires_in_seconds=60, max_session_duration_seconds=600)
    holder = Listener(StreamingClientOptions(api_host=host, token=token, connect_timeout=10))
    holder.listen([sentence, SILENCE])
    assert len(check_turns(holder.of(TurnEvent), formatted=False)) == 1
    assert holder.told[0].expires_at.timestamp() < time.time() + 601
    assert payer.charged_ms() == (len(sentence) + len(SILENCE)) // 32
    again = Listener(options(server, token=token))
    again.listen([], end=False)
    assert [event.code for event in again.told] == [4001]
    again.client.disconnect()


async def test_a_token_with_asyncio(secure: Terminated, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.trusted))
    given = StreamingClientOptions(api_host=f"127.0.0.1:{secure.port}", api_key=server.api_key, connect_timeout=10)
    token = await AsyncStreamingClient(given).create_temporary_token(expires_in_seconds=60)
    # As a browser sends it.
    async with websockets.connect(f"{server.ws_url}/v3/ws?sample_rate=16000&token={token}") as socket:
        assert '"type":"Begin"' in str(await socket.recv())


def test_what_a_token_cannot_do(server: Any) -> None:
    key = {"authorization": server.api_key}
    with httpx.Client(base_url=server.base_url, timeout=60) as client:
        wrong = client.get("/v3/token", params={"expires_in_seconds": 601}, headers=key)
        assert (wrong.status_code, "expires_in_seconds" in wrong.json()["error"]) == (400, True)
        assert client.get("/v3/token?expires_in_seconds=60", headers={"authorization": "wrong"}).status_code == 401
        token = client.get("/v3/token?expires_in_seconds=60", headers=key).json()["token"]
        holder = {"authorization": token}
        assert client.get("/v3/token?expires_in_seconds=60", headers=holder).status_code == 401
        assert client.post("/v1/transcribe/live", headers=holder).status_code == 401
        assert client.get("/v2/transcript", headers=holder).status_code == 401
        # It waits to be used all the same.
        assert client.get("/v2/realtime/token", headers=key).json().keys() == {"error"}

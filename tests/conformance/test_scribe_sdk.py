"""ElevenLabs' official SDK, unmodified, has recordings and live speech transcribed by the real server and model."""

import array
import asyncio
import base64
import io
import json
import re
import time
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
import pytest
from elevenlabs import AudioFormat, CommitStrategy, RealtimeEvents
from elevenlabs.client import AsyncElevenLabs, ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.errors import BadRequestError, UnprocessableEntityError
from elevenlabs.types import (
    ExportOptions_Docx,
    ExportOptions_SegmentedJson,
    ExportOptions_Srt,
    ExportOptions_Txt,
    MultichannelSpeechToTextResponseModel,
    SpeechToTextChunkResponseModel,
    SpeechToTextWebhookResponseModel,
    WebhookHmacSettings,
    WorkspaceCreateWebhookResponseModel,
    WorkspaceWebhookResponseModel,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from antiphon.core.text import plain
from vendor_types import check

SAID = "ever tried ever failed"
NO_RETRIES: Any = {"max_retries": 0}
PIECE_S = 0.1
PATIENCE_S = 30
CLOSE_S = 10


class Payer:
    """A project of its own, and what it has been charged."""

    def __init__(self, server: Any, project: str) -> None:
        bearer = {"authorization": f"Bearer {server.api_key}"}
        self._admin = httpx.Client(base_url=server.base_url, headers=bearer, timeout=60)
        self._project = project
        assert self._admin.post("/admin/v1/projects", json={"id": project}).status_code == 201
        self.key_id, self.key = self.another()

    def another(self, *scopes: str) -> tuple[str, str]:
        """The id of another key, and the key."""
        asked: dict[str, Any] = {"project": self._project} | ({"scopes": scopes} if scopes else {})
        made = self._admin.post("/admin/v1/keys", json=asked).json()
        return made["id"], made["key"]

    def revoke(self, key_id: str) -> None:
        assert self._admin.delete(f"/admin/v1/keys/{key_id}").status_code in (200, 204)

    def webhook(self, url: str) -> dict[str, str]:
        """A webhook, once the server knows it."""
        made: dict[str, str] = self._admin.post(
            "/admin/v1/webhooks", json={"project": self._project, "url": url}
        ).json()
        time.sleep(1)
        return made

    def charged_ms(self) -> int:
        query = {"by": "project", "project": self._project}
        totals = self._admin.get("/admin/v1/usage", params=query).json()["data"]
        return sum(total["amount"] for total in totals if total["dimension"] == "stt.audio_ms")


@pytest.fixture
def payer(server: Any, request: pytest.FixtureRequest) -> Payer:
    return Payer(server, re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-40:].strip("-"))


@pytest.fixture
def client(server: Any, payer: Payer) -> ElevenLabs:
    return ElevenLabs(base_url=server.base_url, api_key=payer.key, timeout=60)


@pytest.fixture
def pcm(beckett: Path) -> bytes:
    with wave.open(str(beckett)) as speech:
        return speech.readframes(speech.getnframes())


def length_ms(pcm: bytes) -> int:
    return len(pcm) // 32


# -- recordings --------------------------------------------------------------------------------------------------------


def test_a_file(client: ElevenLabs, payer: Payer, beckett: Path, pcm: bytes) -> None:
    raw = client.speech_to_text.with_raw_response.convert(model_id="scribe_v2", file=beckett.read_bytes())
    answer: Any = raw.data
    check(SpeechToTextChunkResponseModel, answer.model_dump(by_alias=True))
    assert SAID in plain(answer.text)
    assert (answer.language_code, answer.language_probability) == ("eng", 1.0)
    assert "".join(word.text for word in answer.words) == answer.text
    words = [word for word in answer.words if word.type == "word"]
    assert len(words) > 10
    assert {word.type for word in answer.words} == {"word", "spacing"}
    assert all(a.start <= b.start for a, b in pairwise(answer.words))
    assert all(word.start < word.end and -5 < word.logprob <= 0 for word in words)
    assert answer.audio_duration_secs * 1000 == length_ms(pcm) == payer.charged_ms()
    assert answer.transcription_id == raw.headers["request-id"]
    assert raw.headers["antiphon-no-effect"] == "tag_audio_events"


def test_raw_samples_characters_and_more_formats(client: ElevenLabs, pcm: bytes) -> None:
    answer: Any = client.speech_to_text.convert(
        model_id="scribe_v1",
        file=pcm,
        file_format="pcm_s16le_16",
        language_code="en",
        timestamps_granularity="character",
        tag_audio_events=False,
        diarize=False,
        keyterms=[f"term {place}" for place in range(1000)],
        additional_formats=[
            ExportOptions_Srt(max_characters_per_line=30),
            ExportOptions_Txt(include_timestamps=False),
            ExportOptions_SegmentedJson(max_segment_duration_s=3.0),
        ],
    )
    for word in answer.words:
        assert "".join(character.text for character in word.characters) == word.text
        assert (word.characters[0].start, word.characters[-1].end) == (word.start, word.end)
    subtitles, text, segments = answer.additional_formats
    assert subtitles.content.startswith("1\n00:00:0")
    lines = [line for line in subtitles.content.splitlines() if line and "-->" not in line]
    assert max(map(len, lines)) <= 30
    assert text.content.split() == answer.text.split()
    told = json.loads(segments.content)["segments"]
    assert " ".join(segment["text"] for segment in told) == answer.text
    assert all(segment["end"] - segment["start"] <= 3 for segment in told)
    assert not subtitles.is_base_64_encoded


def test_without_times(client: ElevenLabs, pcm: bytes) -> None:
    answer: Any = client.speech_to_text.convert(
        model_id="scribe_v2", file=pcm, file_format="pcm_s16le_16", timestamps_granularity="none"
    )
    assert SAID in plain("".join(word.text for word in answer.words))
    assert all(word.start is None and word.end is None for word in answer.words)


def stereo(pcm: bytes) -> bytes:
    """A WAV file in which somebody speaks on the right, and later on the left."""
    right = array.array("h", pcm)
    half = len(right) // 2
    left = array.array("h", bytes(2 * half)) + right[:half]
    both = array.array("h", [0]) * (2 * len(left))
    both[0::2], both[1::2] = left, right[: len(left)]
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(2)
        written.setsampwidth(2)
        written.setframerate(16_000)
        written.writeframes(both.tobytes())
    return file.getvalue()


def test_channels(client: ElevenLabs, payer: Payer, pcm: bytes) -> None:
    recording = stereo(pcm)
    answer: Any = client.speech_to_text.convert(model_id="scribe_v2", file=recording, use_multi_channel=True)
    check(MultichannelSpeechToTextResponseModel, answer.model_dump(by_alias=True))
    assert [transcript.channel_index for transcript in answer.transcripts] == [0, 1]
    assert all(plain(transcript.text).startswith("ever tried") for transcript in answer.transcripts)
    assert answer.transcripts[1].words[0].start < 2 < answer.transcripts[0].words[0].start
    assert payer.charged_ms() == 2 * round(answer.audio_duration_secs * 1000)
    combined: Any = client.speech_to_text.convert(
        model_id="scribe_v2", file=recording, use_multi_channel=True, multichannel_output_style="combined"
    )
    assert {word.channel_index for word in combined.words} == {0, 1}
    assert combined.text.split() == [word.text for word in combined.words if word.type == "word"]


@pytest.fixture
def address(beckett: Path) -> Any:
    """Where the recording can be fetched."""
    data = beckett.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/a.wav"
        web.shutdown()


def test_a_recording_elsewhere(client: ElevenLabs, address: str) -> None:
    for place in ({"source_url": address}, {"cloud_storage_url": address}):
        answer: Any = client.speech_to_text.convert(model_id="scribe_v2", **place)
        assert SAID in plain(answer.text)
    with pytest.raises(UnprocessableEntityError):
        client.speech_to_text.convert(model_id="scribe_v2", source_url="http://10.0.0.1/a.wav")


async def test_everything_async(server: Any, payer: Payer, pcm: bytes) -> None:
    client = AsyncElevenLabs(base_url=server.base_url, api_key=payer.key, timeout=60)
    answer: Any = await client.speech_to_text.convert(model_id="scribe_v2", file=pcm, file_format="pcm_s16le_16")
    assert SAID in plain(answer.text)
    assert (await client.tokens.single_use.create("batch_scribe")).token


class Receiver(BaseHTTPRequestHandler):
    """Takes what webhooks send, and the header `x-order`; the first is refused."""

    got: list[tuple[str, str]]
    orders: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.got.append((body, self.headers["elevenlabs-signature"]))
        self.orders.append(self.headers["x-order"])
        self.send_response(503 if len(self.got) == 1 else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *given: Any) -> None: ...


def test_a_webhook_is_told(client: ElevenLabs, payer: Payer, beckett: Path, pcm: bytes) -> None:
    got: list[tuple[str, str]] = []
    recording = {"model_id": "scribe_v2", "file": beckett.read_bytes(), "webhook": True}
    with pytest.raises(UnprocessableEntityError, match="no webhooks"):
        client.speech_to_text.convert(**recording)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Receiver,), {"got": got})) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        webhook = payer.webhook(f"http://127.0.0.1:{web.server_port}/hook")
        begun: Any = client.speech_to_text.convert(
            **recording, webhook_id=webhook["id"], webhook_metadata={"order": "7"}, keyterms=["tried"]
        )
        assert isinstance(begun, SpeechToTextWebhookResponseModel)
        deadline = time.monotonic() + PATIENCE_S
        while len(got) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        web.shutdown()
    first, second = got
    event = client.webhooks.construct_event(*second, webhook["secret"])
    assert event == client.webhooks.construct_event(*first, webhook["secret"])
    with pytest.raises(BadRequestError):
        client.webhooks.construct_event(second[0] + " ", second[1], webhook["secret"])
    assert (event["type"], event["data"]["webhook_metadata"]) == ("speech_to_text_transcription", {"order": "7"})
    assert event["data"]["request_id"] == begun.request_id
    assert SAID in plain(event["data"]["transcription"]["text"])
    kept: Any = client.speech_to_text.transcripts.get(begun.transcription_id or "")
    check(SpeechToTextChunkResponseModel, kept.model_dump(by_alias=True))
    assert kept.text == event["data"]["transcription"]["text"]
    assert payer.charged_ms() == length_ms(pcm)
    client.speech_to_text.transcripts.delete(begun.transcription_id or "")
    with pytest.raises(ApiError) as gone:
        client.speech_to_text.transcripts.get(begun.transcription_id or "")
    assert gone.value.status_code == 404


def test_webhooks_of_a_workspace(server: Any, payer: Payer, beckett: Path) -> None:
    """They are the project's, may be changed by keys with the right to, and are told from the answer on."""
    client = ElevenLabs(base_url=server.base_url, api_key=payer.another("transcribe", "keys")[1], timeout=60)
    hooks, got = client.webhooks, []
    recording = {"model_id": "scribe_v2", "file": beckett.read_bytes(), "webhook": True}
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Receiver,), {"got": got, "orders": []})) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}/hook"
        made = hooks.create(
            settings=WebhookHmacSettings(name="mine", webhook_url=url, request_headers={"x-order": "7"})
        )
        check(WorkspaceCreateWebhookResponseModel, made.model_dump())
        other = hooks.create(settings=WebhookHmacSettings(name="other", webhook_url=url))
        hooks.update(other.webhook_id, is_disabled=False, name="other", retry_enabled=False, events=[])
        begun: Any = client.speech_to_text.convert(**recording)  # told to the one that is subscribed
        deadline = time.monotonic() + PATIENCE_S
        while len(got) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        event = client.webhooks.construct_event(*got[1], made.webhook_secret or "")
        assert event["data"]["transcription_id"] == begun.transcription_id
        check(SpeechToTextChunkResponseModel, event["data"]["transcription"])
        got.clear()  # so that the first is refused again, and the other one is not tried again
        client.speech_to_text.convert(**recording, webhook_id=other.webhook_id)
        while not (failed := hooks.list(include_usages=True).webhooks[1]).most_recent_failure_error_code:
            assert time.monotonic() < deadline + PATIENCE_S
            time.sleep(0.1)
        time.sleep(1.5)
        web.shutdown()
    assert (len(got), web.RequestHandlerClass.orders) == (1, ["7", "7", None])
    listed = hooks.list(include_usages=True).webhooks
    for each in listed:
        check(WorkspaceWebhookResponseModel, each.model_dump())
    assert [(each.name, each.events, each.auth_type) for each in listed] == [
        ("mine", ["speech_to_text"], "hmac"),
        ("other", [], "hmac"),
    ]
    assert (failed.webhook_id, failed.most_recent_failure_error_code) == (other.webhook_id, 503)
    assert hooks.update(made.webhook_id, is_disabled=True, name="mine").status == "ok"
    assert [each.is_disabled for each in hooks.list().webhooks] == [True, False]
    for more in ({}, {"webhook_id": made.webhook_id}):
        with pytest.raises(UnprocessableEntityError, match="webhook"):
            client.speech_to_text.convert(**recording, **more)
    for wrong in ({"webhook_url": "ftp://a"}, {"request_headers": {"host": "a"}}, {"auth_type": "oauth2"}):
        settings: Any = {"auth_type": "hmac", "name": "a", "webhook_url": "https://a.example"} | wrong
        with pytest.raises(UnprocessableEntityError):
            hooks.create(settings=settings)
    weaker = ElevenLabs(base_url=server.base_url, api_key=payer.key)
    with pytest.raises(ApiError) as refused:
        weaker.webhooks.list()
    assert refused.value.status_code == 403
    for each in listed:
        assert hooks.delete(each.webhook_id).status == "ok"
    with pytest.raises(ApiError) as gone:
        hooks.delete(made.webhook_id)
    assert (gone.value.status_code, hooks.list().webhooks) == (404, [])


def test_no_transcript_is_kept(client: ElevenLabs) -> None:
    for call in (client.speech_to_text.transcripts.get, client.speech_to_text.transcripts.delete):
        with pytest.raises(ApiError) as refused:
            call("t1")
        assert (refused.value.status_code, refused.value.body["detail"]["status"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"model_id": "scribe_v9"}, 404, "model_not_found"),
        ({"language_code": "de"}, 400, "unsupported_parameter"),
        ({"entity_redaction": "phi"}, 400, "unsupported_parameter"),
        ({"entity_detection": ["offensive_language"]}, 400, "unsupported_parameter"),
        ({"additional_formats": [ExportOptions_Docx()]}, 400, "unsupported_parameter"),
        ({"file": b"no audio at all"}, 400, "bad_media"),
    ],
)
def test_refusals(client: ElevenLabs, payer: Payer, pcm: bytes, asked: Any, status: int, said: str) -> None:
    with pytest.raises(ApiError) as refused:
        client.speech_to_text.convert(**{"model_id": "scribe_v2", "file": pcm} | asked)
    assert (refused.value.status_code, refused.value.body["detail"]["status"]) == (status, said)
    assert payer.charged_ms() == 0


def test_a_wrong_key(server: Any, payer: Payer) -> None:
    _, speaker = payer.another("speak")
    for key, status in (("wrong", 401), (speaker, 403)):
        client = ElevenLabs(base_url=server.base_url, api_key=key)
        for call in (
            lambda client=client: client.speech_to_text.convert(model_id="scribe_v2", file=b"x"),
            lambda client=client: client.tokens.single_use.create("realtime_scribe"),
            lambda client=client: client.speech_to_text.transcripts.get("t"),
        ):
            with pytest.raises(ApiError) as refused:
                call()
            assert refused.value.status_code == status


class FullAtFirst(httpx.HTTPTransport):
    """The first answer says that there is no room."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.asked == 1:
            return httpx.Response(429, headers={"retry-after": "0"}, json={"detail": {"status": "busy"}})
        return super().handle_request(request)


@pytest.mark.parametrize("place", [{"file": b"SOUND"}, {"source_url": "https://example.com/a.wav"}])
def test_a_retry_that_lost_its_fields(server: Any, payer: Payer, place: Any) -> None:
    """Whoever sees the last error learns what happened, and what to do."""
    transport = FullAtFirst()
    with httpx.Client(transport=transport) as http:
        client = ElevenLabs(base_url=server.base_url, api_key=payer.key, httpx_client=http)
        with pytest.raises(UnprocessableEntityError) as refused:
            client.speech_to_text.convert(model_id="scribe_v2", **place)
    assert transport.asked == 2
    assert "max_retries" in refused.value.body["detail"][0]["msg"]


# -- live --------------------------------------------------------------------------------------------------------------


class Heard:
    """What a connection was told, by its type."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.closed: dict[str, Any] | None = None
        self._news = asyncio.Event()

    def take(self, message: dict[str, Any]) -> None:
        self.told.append(message)
        self._news.set()

    def close(self, info: dict[str, Any]) -> None:
        self.closed = info
        self._news.set()

    def of(self, kind: RealtimeEvents) -> list[dict[str, Any]]:
        return [each for each in self.told if each["message_type"] == kind.value]

    def texts(self, kind: RealtimeEvents) -> list[str]:
        return [each["text"] for each in self.of(kind)]

    def error(self) -> dict[str, Any]:
        return next(each for each in self.told if "error" in each)

    async def until(self, there: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not there():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def listening(client: Any, **options: Any) -> AsyncIterator[tuple[Any, Heard]]:
    """A connection of the SDK's, and what it hears."""
    asked = {"model_id": "scribe_v2_realtime", "audio_format": AudioFormat.PCM_16000, "sample_rate": 16_000}
    connection = await client.speech_to_text.realtime.connect(asked | options)
    heard = Heard()
    for event in RealtimeEvents:
        if event not in (RealtimeEvents.OPEN, RealtimeEvents.CLOSE, RealtimeEvents.ERROR):
            connection.on(event, heard.take)
    connection.on(RealtimeEvents.CLOSE, heard.close)
    try:
        yield connection, heard
    finally:
        await connection.close()


async def speak(connection: Any, pcm: bytes, rate: int = 16_000, sample_bytes: int = 2, speed: float = 8) -> None:
    """Sends in pieces, faster than it was spoken."""
    piece = int(rate * PIECE_S) * sample_bytes
    for at in range(0, len(pcm), piece):
        await connection.send({"audio_base_64": base64.b64encode(pcm[at : at + piece]).decode()})
        await asyncio.sleep(PIECE_S / speed)


async def test_manual_commits(client: ElevenLabs, payer: Payer, pcm: bytes) -> None:
    half = len(pcm) // 4 * 2
    async with listening(client, commit_strategy=CommitStrategy.MANUAL, include_timestamps=True) as (connection, heard):
        for number, part in enumerate((pcm[:half], pcm[half:]), start=1):
            await speak(connection, part)
            assert len(heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT)) == number - 1
            await connection.commit()
            await heard.until(
                lambda number=number: len(heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT_WITH_TIMESTAMPS)) == number
            )
        await connection.commit()
        await heard.until(lambda: heard.of(RealtimeEvents.COMMIT_THROTTLED))
    started = heard.of(RealtimeEvents.SESSION_STARTED)[0]
    assert started["config"]["commit_strategy"] == "manual"
    assert SAID in plain(" ".join(heard.texts(RealtimeEvents.COMMITTED_TRANSCRIPT)))
    assert heard.texts(RealtimeEvents.PARTIAL_TRANSCRIPT)
    for plainly, timed in zip(
        heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT),
        heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT_WITH_TIMESTAMPS),
        strict=True,
    ):
        assert plainly["text"] == timed["text"] == "".join(word["text"] for word in timed["words"])
    words = [w for each in heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT_WITH_TIMESTAMPS) for w in each["words"]]
    assert all(a["start"] <= b["start"] for a, b in pairwise(words))
    assert await settled(payer) == length_ms(pcm)


async def settled(payer: Payer) -> int:
    """What was charged once the server has noticed that the caller is gone."""
    before = -1
    async with asyncio.timeout(CLOSE_S):
        while (now := await asyncio.to_thread(payer.charged_ms)) != before:
            before = now
            await asyncio.sleep(0.5)
    return now


async def test_the_voice_commits(client: ElevenLabs, pcm: bytes) -> None:
    options = {"commit_strategy": CommitStrategy.VAD, "vad_silence_threshold_secs": 0.5, "language_code": "en"}
    async with listening(client, **options) as (connection, heard):
        await speak(connection, pcm + bytes(32_000 * 2))
        await heard.until(lambda: len(heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT)) >= 2)
        await heard.until(lambda: SAID in plain(" ".join(heard.texts(RealtimeEvents.COMMITTED_TRANSCRIPT))))
    assert not [each for each in heard.told if "error" in each]
    assert not heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT_WITH_TIMESTAMPS)


NUMBER = re.compile(r"415|555|0132|four one five|five five", re.IGNORECASE)


@pytest.fixture(scope="module")
def number(server: Any) -> bytes:
    """A telephone number is said, as 16 kHz samples."""
    said = {"text": "You can call me at four one five, five five five, oh one three two. The ship was blue."}
    query = {"model": "aura-2-thalia-en", "encoding": "linear16", "sample_rate": "16000", "container": "none"}
    token = {"authorization": f"Token {server.api_key}"}
    spoken = httpx.post(f"{server.base_url}/v1/speak", params=query, headers=token, json=said, timeout=60)
    assert spoken.status_code == 200, spoken.text
    return spoken.content


def test_what_is_hidden_in_a_file(client: ElevenLabs, number: bytes) -> None:
    given: Any = {"model_id": "scribe_v2", "file": number, "file_format": "pcm_s16le_16"}
    formats = [ExportOptions_Srt(), ExportOptions_SegmentedJson()]
    hidden: Any = client.speech_to_text.convert(**given, entity_redaction="pii", additional_formats=formats)
    assert "{REDACTED}" in hidden.text
    assert not NUMBER.search(hidden.text + str(hidden.words) + hidden.additional_formats[1].content)
    assert hidden.entities is None
    told: Any = client.speech_to_text.convert(**given, entity_detection=["phone_number"])
    (entity,) = told.entities
    assert entity.entity_type == "phone_number"
    assert told.text[entity.start_char : entity.end_char] == entity.text
    assert NUMBER.search(entity.text)


async def test_what_is_hidden_live(client: ElevenLabs, number: bytes) -> None:
    async with listening(client, entity_redaction=["phone_number"], include_timestamps=True) as (connection, heard):
        await speak(connection, number)
        await connection.commit()
        await heard.until(lambda: heard.of(RealtimeEvents.REDACTED_TRANSCRIPT))
    assert "{PHONE_NUMBER_1}" in heard.of(RealtimeEvents.REDACTED_TRANSCRIPT)[0]["redacted_text"]
    assert not NUMBER.search(json.dumps(heard.told))


async def test_the_telephone(client: ElevenLabs, pcm: bytes) -> None:
    """Eight thousand samples a second, as they are."""
    narrow = array.array("h", pcm)[::2].tobytes()
    async with listening(client, audio_format=AudioFormat.PCM_8000, sample_rate=8_000) as (connection, heard):
        await speak(connection, narrow, rate=8_000)
        await connection.commit()
        await heard.until(lambda: heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT))
    assert "ever failed" in plain(heard.texts(RealtimeEvents.COMMITTED_TRANSCRIPT)[0])


async def test_a_caller_who_vanishes(server: Any, payer: Payer, pcm: bytes) -> None:
    """What was heard is charged, as of any live caller; the server goes on."""
    url = f"{server.ws_url}/v1/speech-to-text/realtime?model_id=scribe_v2_realtime"
    socket = await connect(url, additional_headers={"xi-api-key": payer.key})
    second = pcm[: 32_000 * 2]
    await socket.send(
        json.dumps({"message_type": "input_audio_chunk", "audio_base_64": base64.b64encode(second).decode()})
    )
    while json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))["message_type"] != "partial_transcript":
        pass
    socket.transport.abort()
    assert await settled(payer) == length_ms(second)


async def test_who_only_opens_pays_nothing(client: ElevenLabs, payer: Payer) -> None:
    async with listening(client) as (_, heard):
        await heard.until(lambda: heard.of(RealtimeEvents.SESSION_STARTED))
    assert await settled(payer) == 0


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"model_id": "scribe_v9"}, "invalid_request"),
        ({"language_code": "de"}, "invalid_request"),
        ({"entity_redaction": "phi"}, "invalid_request"),
        ({"sample_rate": 8_000}, "input_error"),
    ],
)
async def test_what_cannot_be_heard(client: ElevenLabs, payer: Payer, options: Any, name: str) -> None:
    async with listening(client, **options) as (connection, heard):
        if name == "input_error":
            await connection.send({"audio_base_64": "AAAA"})
        await heard.until(lambda: heard.closed)
    assert heard.error()["message_type"] == name
    assert heard.closed is not None
    assert heard.closed["code"] == 1008
    assert payer.charged_ms() == 0


@pytest.mark.parametrize("scope", [None, "speak"])
async def test_a_caller_who_may_not(server: Any, payer: Payer, scope: str | None) -> None:
    """Nobody's key, and one for something else."""
    key = payer.another(scope)[1] if scope else "wrong"
    async with listening(ElevenLabs(base_url=server.base_url, api_key=key)) as (_, heard):
        await heard.until(lambda: heard.closed)
    assert heard.error()["message_type"] == "auth_error"
    assert heard.closed is not None
    assert heard.closed["code"] == 1008


# -- tokens ------------------------------------------------------------------------------------------------------------


async def test_a_token_opens_one_stream(server: Any, client: ElevenLabs, payer: Payer, pcm: bytes) -> None:
    token = client.tokens.single_use.create("realtime_scribe").token
    browser = ElevenLabs(base_url=server.base_url, api_key="never sent")
    async with listening(browser, token=token) as (connection, heard):
        await speak(connection, pcm[: 32_000 * 3])
        await connection.commit()
        await heard.until(lambda: heard.of(RealtimeEvents.COMMITTED_TRANSCRIPT))
    assert await settled(payer) == 3_000
    async with listening(browser, token=token) as (_, again):
        await again.until(lambda: again.closed)
    assert again.error()["message_type"] == "auth_error"


def test_a_token_transcribes_one_file(server: Any, client: ElevenLabs, beckett: Path) -> None:
    token = client.tokens.single_use.create("batch_scribe").token
    browser = ElevenLabs(base_url=server.base_url, api_key="", timeout=60)
    answer: Any = browser.speech_to_text.convert(model_id="scribe_v2", file=beckett.read_bytes(), token=token)
    assert SAID in plain(answer.text)
    with pytest.raises(ApiError) as refused:
        browser.speech_to_text.convert(model_id="scribe_v2", file=b"x", token=token)
    assert refused.value.status_code == 401


def test_a_token_is_for_one_type_of_call_of_one_vendor(server: Any, client: ElevenLabs) -> None:
    tokens = client.tokens.single_use
    browser = ElevenLabs(base_url=server.base_url, api_key="")
    with pytest.raises(ApiError) as refused:
        browser.speech_to_text.convert(model_id="scribe_v2", file=b"x", token=tokens.create("realtime_scribe").token)
    assert refused.value.status_code == 401
    with httpx.Client(base_url=server.base_url, timeout=60) as http:
        bearer = {"authorization": f"Bearer {tokens.create('batch_scribe').token}"}
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
        assert http.post("/v1/chat/completions", headers=bearer, json=asked).status_code == 401
        assert http.post("/v1/single-use-token/batch_scribe", headers=bearer).status_code == 401
    with pytest.raises(ApiError) as unknown:
        tokens.create("everything")
    assert (unknown.value.status_code, unknown.value.body["detail"]["status"]) == (404, "not_found")


async def test_a_token_speaks_once(server: Any, client: ElevenLabs) -> None:
    token = client.tokens.single_use.create("tts_websocket").token
    url = f"{server.ws_url}/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/stream-input?single_use_token={token}"
    async with connect(url) as socket:
        await socket.send(json.dumps({"text": "Hello there. ", "flush": True}))
        assert json.loads(await socket.recv())["audio"]
    with pytest.raises(InvalidStatus, match="401"):
        await connect(url)


def test_a_token_ends_with_its_key(server: Any, payer: Payer) -> None:
    key_id, key = payer.another()
    holder = ElevenLabs(base_url=server.base_url, api_key=key)
    token = holder.tokens.single_use.create("batch_scribe").token
    payer.revoke(key_id)
    deadline = time.monotonic() + CLOSE_S  # the server follows within a second
    with httpx.Client(base_url=server.base_url, headers={"xi-api-key": key}, timeout=60) as http:
        while http.get("/v1/voices").status_code != 401:
            assert time.monotonic() < deadline
    browser = ElevenLabs(base_url=server.base_url, api_key="")
    with pytest.raises(ApiError) as refused:
        browser.speech_to_text.convert(model_id="scribe_v2", file=b"x", token=token)
    assert refused.value.status_code == 401

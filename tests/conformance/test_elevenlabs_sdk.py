"""ElevenLabs' official SDK, unmodified, has texts spoken by the real server and its embedded voice."""

import base64
import io
import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import httpx
import pytest
import websockets
from elevenlabs import DialogueInput, VoiceSettings
from elevenlabs.client import AsyncElevenLabs, ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.errors import UnprocessableEntityError
from websockets.asyncio.client import connect

from tls import terminated

VOICE = "21m00Tcm4TlvDq8ikWAM"  # Rachel, of ElevenLabs' own examples
TEXT = "The ship carried 3 masts, and nobody had seen it before. It was painted blue."
NO_RETRIES: Any = {"max_retries": 0}


@pytest.fixture
def client(server: Any) -> ElevenLabs:
    return ElevenLabs(base_url=server.base_url, api_key=server.api_key, timeout=60)


@pytest.fixture
def async_client(server: Any) -> AsyncElevenLabs:
    return AsyncElevenLabs(base_url=server.base_url, api_key=server.api_key, timeout=60)


def heard_s(data: bytes) -> float:
    """How long a file of audio is, decoded."""
    with av.open(io.BytesIO(data)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def pcm_s(data: bytes, rate: int) -> float:
    assert max(memoryview(data).cast("h")) > 2000  # speech, not silence
    return len(data) / 2 / rate


def follows(alignment: Any, text: str, end_s: float) -> None:
    """It times that text, in order, within what was heard."""
    assert "".join(alignment.characters) == text
    starts, ends = alignment.character_start_times_seconds, alignment.character_end_times_seconds
    assert all(a <= b for a, b in pairwise(starts))
    assert all(start <= end for start, end in zip(starts, ends, strict=True))
    assert ends[-1] <= end_s + 0.05
    assert ends[-1] > end_s * 0.7


# -- over HTTP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["mp3_44100_128", "mp3_22050_32", "mp3_24000_48", "wav_16000", "opus_48000_64"])
def test_whole_answers(client: ElevenLabs, form: Any) -> None:
    audio = client.text_to_speech.convert(VOICE, text=TEXT, model_id="eleven_multilingual_v2", output_format=form)
    assert 3 < heard_s(b"".join(audio)) < 8


def test_the_raw_answer(client: ElevenLabs) -> None:
    with client.text_to_speech.with_raw_response.convert(VOICE, text="Hello there.", seed=7) as answer:
        assert b"".join(answer.data)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["character-cost"] == "12"
    assert answer.headers["antiphon-no-effect"] == "seed"
    assert len(answer.headers["request-id"]) == 36


def test_settings_that_everybody_sends(client: ElevenLabs) -> None:
    def length_s(speed: float) -> float:
        settings = VoiceSettings(stability=0.2, similarity_boost=1.0, style=0.0, use_speaker_boost=True, speed=speed)
        audio = client.text_to_speech.convert(VOICE, text=TEXT, voice_settings=settings, output_format="pcm_24000")
        return pcm_s(b"".join(audio), 24_000)

    assert length_s(0.8) > 1.2 * length_s(1.2)


@pytest.mark.parametrize(("form", "rate"), [("pcm_8000", 8000), ("pcm_22050", 22050), ("pcm_48000", 48000)])
def test_streams(client: ElevenLabs, form: Any, rate: int) -> None:
    pieces = list(client.text_to_speech.stream(VOICE, text=TEXT, output_format=form))
    assert len(pieces) > 1
    assert 3 < pcm_s(b"".join(pieces), rate) < 8


@pytest.mark.parametrize("form", ["ulaw_8000", "alaw_8000"])
def test_the_telephone(client: ElevenLabs, form: Any) -> None:
    assert 3 < len(b"".join(client.text_to_speech.stream(VOICE, text=TEXT, output_format=form))) / 8000 < 8


def test_a_pause_that_is_asked_for(client: ElevenLabs) -> None:
    def length_s(text: str) -> float:
        return pcm_s(b"".join(client.text_to_speech.convert(VOICE, text=text, output_format="pcm_24000")), 24_000)

    assert 1.5 < length_s('One. <break time="2.0s" /> Two.') - length_s("One. Two.") < 2.5


def test_times(client: ElevenLabs) -> None:
    answer = client.text_to_speech.convert_with_timestamps(VOICE, text=TEXT, output_format="wav_24000")
    length_s = heard_s(base64.b64decode(answer.audio_base_64))
    assert answer.alignment is not None
    follows(answer.alignment, TEXT, length_s)
    assert answer.normalized_alignment is not None
    assert "three masts" in "".join(answer.normalized_alignment.characters)


def test_times_in_a_stream(client: ElevenLabs) -> None:
    pieces = list(client.text_to_speech.stream_with_timestamps(VOICE, text=TEXT, output_format="pcm_24000"))
    length_s = pcm_s(b"".join(base64.b64decode(piece.audio_base_64) for piece in pieces), 24_000)
    timed = [piece.alignment for piece in pieces if piece.alignment]
    assert len(timed) > 1
    whole = timed[0].model_copy(
        update={
            name: [each for piece in timed for each in getattr(piece, name)] for name in type(timed[0]).model_fields
        }
    )
    follows(whole, TEXT, length_s)


async def test_everything_async(async_client: AsyncElevenLabs) -> None:
    speech = async_client.text_to_speech
    whole = b"".join([piece async for piece in speech.convert(VOICE, text=TEXT)])
    stream = b"".join([piece async for piece in speech.stream(VOICE, text=TEXT)])
    assert abs(heard_s(whole) - heard_s(stream)) < 0.5
    answer = await speech.convert_with_timestamps(VOICE, text="Hello.")
    assert answer.alignment is not None
    assert answer.alignment.characters == list("Hello.")
    assert [piece async for piece in speech.stream_with_timestamps(VOICE, text="Hello.")]
    assert (await async_client.voices.get_all()).voices
    assert (await async_client.voices.search(page_size=1)).has_more
    assert (await async_client.voices.get(VOICE)).voice_id == VOICE
    assert await async_client.models.list()
    assert (await async_client.user.subscription.get()).status == "active"
    assert (await async_client.user.get()).user_id


# -- what there is, and what was used ----------------------------------------------------------------------------------


def test_voices(client: ElevenLabs) -> None:
    everyone = {voice.voice_id for voice in client.voices.get_all().voices}
    assert VOICE in everyone
    assert client.voices.get(VOICE).category == "premade"
    found, token = set(), None
    while True:
        page = client.voices.search(page_size=3, next_page_token=token, sort="name", include_total_count=True)
        assert page.total_count == len(everyone)
        found |= {voice.voice_id for voice in page.voices}
        token = page.next_page_token
        if not page.has_more:
            break
    assert found == everyone
    assert client.voices.search(search="nobody of that name").voices == []
    assert client.voices.search(voice_ids=[VOICE], language=["en"]).voices[0].voice_id == VOICE
    with pytest.raises(ApiError) as refused:
        client.voices.get("nobody")
    assert refused.value.status_code == 404


def test_models(client: ElevenLabs) -> None:
    """Those that speak; at this very path another vendor's callers find all."""
    models = {model.model_id: model for model in client.models.list()}
    assert models["eleven_flash_v2_5"].can_do_text_to_speech
    assert "gpt-4o-mini" not in models
    assert models["eleven_flash_v2_5"].languages[0].language_id == "en"


def test_what_was_spoken_is_counted(server: Any) -> None:
    """Of a project that has not asked before: a sum that was told holds for a while."""
    bearer = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.base_url, headers=bearer, timeout=60) as admin:
        assert admin.post("/admin/v1/projects", json={"id": "counted"}).status_code == 201
        key = admin.post("/admin/v1/keys", json={"project": "counted"}).json()["key"]
    client = ElevenLabs(base_url=server.base_url, api_key=key, timeout=60)
    assert b"".join(client.text_to_speech.convert(VOICE, text="Seventeen letters"))
    now = client.user.get().subscription
    assert now.character_count == 17 < now.character_limit
    assert client.user.subscription.get().character_count == 17
    assert now.next_character_count_reset_unix > time.time()


# -- errors ------------------------------------------------------------------------------------------------------------


def test_a_wrong_key(server: Any) -> None:
    client = ElevenLabs(base_url=server.base_url, api_key="wrong")
    for call in (
        lambda: list(client.text_to_speech.convert(VOICE, text="Hi.")),
        client.voices.get_all,
        client.models.list,
        client.user.get,
    ):
        with pytest.raises(ApiError) as refused:
            call()
        assert refused.value.status_code == 401
        assert refused.value.body["detail"]["status"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"voice_id": "nobody"}, 404, "voice_not_found"),
        ({"model_id": "eleven_nothing"}, 404, "model_not_found"),
        ({"language_code": "de"}, 400, "unsupported_parameter"),
        ({"apply_text_normalization": "off"}, 400, "unsupported_parameter"),
    ],
)
def test_refusals(client: ElevenLabs, asked: Any, status: int, said: str) -> None:
    with pytest.raises(ApiError) as refused:
        list(client.text_to_speech.stream(**{"voice_id": VOICE, "text": "Hi."} | asked, request_options=NO_RETRIES))
    assert refused.value.status_code == status
    assert refused.value.body["detail"]["status"] == said


def test_what_is_not_of_the_right_form(client: ElevenLabs) -> None:
    with pytest.raises(UnprocessableEntityError) as refused:
        list(client.text_to_speech.convert(VOICE, text="Hi.", output_format="mp3_1_1"))
    assert refused.value.body["detail"][0]["loc"] == ["query", "output_format"]
    with pytest.raises(UnprocessableEntityError):
        client.text_to_speech.convert_with_timestamps(VOICE, text=" ")


# -- over WebSockets ---------------------------------------------------------------------------------------------------


@pytest.fixture
def realtime(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ElevenLabs]:
    """The SDK opens its WebSocket over TLS, whatever its base URL says."""
    with terminated(urlsplit(server.base_url).port or 0, tmp_path) as front:
        monkeypatch.setenv("SSL_CERT_FILE", str(front.trusted))
        yield ElevenLabs(base_url=f"https://127.0.0.1:{front.port}", api_key=server.api_key)


def words() -> Iterator[str]:
    yield from ("The ship ", "was ", "painted blue, ", "and nobody", " had seen it", " before. ", "It was old.")


def test_a_text_that_comes_in_pieces(realtime: ElevenLabs) -> None:
    settings = VoiceSettings(stability=0.5, similarity_boost=0.8, speed=1.1)
    audio = realtime.text_to_speech.convert_realtime(
        VOICE, text=words(), model_id="eleven_flash_v2_5", output_format="pcm_24000", voice_settings=settings
    )
    assert 2 < pcm_s(b"".join(audio), 24_000) < 8
    assert b"".join(realtime.text_to_speech.convert_realtime(VOICE, text=words()))


def test_a_text_that_nobody_can_speak(realtime: ElevenLabs) -> None:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        list(realtime.text_to_speech.convert_realtime("nobody", text=words()))
    assert refused.value.response.status_code == 404
    settings = VoiceSettings(speed=3.0)
    with pytest.raises(ApiError) as closed:
        list(realtime.text_to_speech.convert_realtime(VOICE, text=words(), voice_settings=settings))
    assert closed.value.status_code == 1008


def test_a_dialogue(client: ElevenLabs) -> None:
    """Its lines are said one after the other, whoever says them, and each is told whose it is."""
    inputs = [
        DialogueInput(text="Who has seen the ship?", voice_id=VOICE),
        DialogueInput(text="Nobody has. ", voice_id="Xb7hH8MSUJpSbSDYk0k2"),
    ]
    whole = b"".join(client.text_to_dialogue.convert(inputs=inputs, output_format="pcm_16000"))
    streamed = b"".join(client.text_to_dialogue.stream(inputs=inputs, output_format="pcm_16000", model_id="eleven_v3"))
    for pcm in (whole, streamed):
        assert 1.5 < pcm_s(pcm, 16_000) < 5
    timed = client.text_to_dialogue.convert_with_timestamps(inputs=inputs, output_format="pcm_16000")
    assert timed.alignment is not None
    said = "".join(each.text for each in inputs)
    assert "".join(timed.alignment.characters) == said
    asked, answered = timed.voice_segments
    assert [asked.voice_id, answered.voice_id] == [each.voice_id for each in inputs]
    assert said[answered.character_start_index : answered.character_end_index] == inputs[1].text
    assert asked.end_time_seconds <= answered.start_time_seconds < answered.end_time_seconds
    pieces = list(client.text_to_dialogue.stream_with_timestamps(inputs=inputs, output_format="pcm_16000"))
    assert {segment.dialogue_input_index for piece in pieces for segment in piece.voice_segments} == {0, 1}
    with pytest.raises(ApiError) as refused:
        list(client.text_to_dialogue.convert(inputs=[DialogueInput(text="Hi", voice_id="nobody")]))
    assert refused.value.status_code == 404


def url(server: Any, kind: str, **query: Any) -> str:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return f"{server.ws_url}/v1/text-to-speech/{VOICE}/{kind}?{asked}"


async def said(socket: Any) -> list[dict[str, Any]]:
    """Everything, up to the close."""
    return [json.loads(message) async for message in socket]


def pcm_of(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(message["audio"]) for message in messages if message["audio"])


async def test_times_of_a_text_that_comes_in_pieces(server: Any) -> None:
    """Each message's are of its own sound; put together, they are those of the text."""
    asked = {"output_format": "pcm_16000", "sync_alignment": "true", "auto_mode": "true"}
    headers = {"xi-api-key": server.api_key}
    async with connect(url(server, "stream-input", **asked), additional_headers=headers) as socket:
        await socket.send(json.dumps({"text": " "}))
        for word in words():
            await socket.send(json.dumps({"text": word}))
        await socket.send(json.dumps({"text": ""}))
        messages = await said(socket)
    assert socket.close_code == 1000
    assert messages[-1]["isFinal"]
    timed = [message for message in messages if message["alignment"]]
    assert "".join("".join(message["alignment"]["chars"]) for message in timed) == "".join(words()) + " "
    for message in timed:
        length_ms = len(base64.b64decode(message["audio"])) / 32
        times = message["alignment"]
        assert times["charStartTimesMs"][0] < 100
        assert times["charStartTimesMs"][-1] + times["charDurationsMs"][-1] <= length_ms + 50


async def test_times_that_sound_does_not_wait_for(server: Any) -> None:
    """Added up, as clients do, they are those of the whole."""
    headers = {"xi-api-key": server.api_key}
    asked = {"output_format": "pcm_16000", "auto_mode": "true"}
    async with connect(url(server, "stream-input", **asked), additional_headers=headers) as socket:
        for text in (TEXT, ""):
            await socket.send(json.dumps({"text": text}))
        messages = await said(socket)
    timed = [message["alignment"] for message in messages if message["alignment"]]
    assert messages[0]["alignment"] is None
    assert "".join(char for each in timed for char in each["chars"]) == TEXT + " "  # the end of a text ends a word
    spans_ms = [each["charStartTimesMs"][-1] + each["charDurationsMs"][-1] for each in timed]
    assert abs(sum(spans_ms) - len(pcm_of(messages)) / 32) < 100


async def test_several_texts_beside_each_other(server: Any) -> None:
    headers = {"xi-api-key": server.api_key}
    async with connect(
        url(server, "multi-stream-input", output_format="pcm_16000"), additional_headers=headers
    ) as socket:
        for id, text in (("a", "The ship was painted blue. "), ("b", "Nobody had seen it before. ")):
            await socket.send(json.dumps({"text": " ", "context_id": id, "voice_settings": {"speed": 1.0}}))
            await socket.send(json.dumps({"text": text, "context_id": id}))
        for id in ("a", "b"):
            await socket.send(json.dumps({"text": "", "context_id": id, "flush": True}))
            await socket.send(json.dumps({"context_id": id, "close_context": True}))
        messages: list[dict[str, Any]] = []
        while sum(message["isFinal"] for message in messages) < 2:
            messages.append(json.loads(await socket.recv()))
        await socket.send(json.dumps({"text": "Again. ", "context_id": "a"}))
        await socket.send(json.dumps({"close_socket": True}))
        again = await said(socket)
    assert socket.close_code == 1000
    for id in ("a", "b"):
        ours = [message for message in messages if message["contextId"] == id]
        assert ours[-1]["isFinal"]
        assert 1 < pcm_s(pcm_of(ours), 16_000) < 4
    assert {message["contextId"] for message in again} == {"a"}
    assert 0.2 < pcm_s(pcm_of(again), 16_000) < 2


async def words_heard(socket: Any, id: str) -> list[str]:
    """As clients put them together: a word is over with the space behind it."""
    characters = ""
    while True:
        message = json.loads(await socket.recv())
        if message["contextId"] == id and message["isFinal"]:
            return characters.split(" ")[:-1]
        characters += "".join((message["alignment"] or {}).get("chars", []))


@pytest.mark.parametrize(
    ("auto", "texts"),
    [
        ("true", ("How are you today?", "This is the ship, and it is old.", "It costs five")),
        ("true", ("How are you today? ", "It is old. ")),
        ("false", ("How are ", "you today? ", "This is", " the ship")),
    ],
)
async def test_no_word_is_lost_or_glued_to_the_next(server: Any, auto: str, texts: tuple[str, ...]) -> None:
    """A framework sends sentences, then a flush and the end of the context. With `auto_mode` the first is heard before
    the next comes.
    """
    headers = {"xi-api-key": server.api_key}
    asked = {"model_id": "eleven_flash_v2_5", "output_format": "pcm_16000", "auto_mode": auto}
    async with connect(url(server, "multi-stream-input", **asked), additional_headers=headers) as socket:
        await socket.send(json.dumps({"text": " ", "context_id": "c"}))
        for number, text in enumerate(texts):
            await socket.send(json.dumps({"text": text, "context_id": "c"}))
            if auto == "true" and number == 0:
                assert json.loads(await socket.recv())["audio"]
        await socket.send(json.dumps({"context_id": "c", "flush": True}))
        await socket.send(json.dumps({"context_id": "c", "close_context": True}))
        heard = await words_heard(socket, "c")
    joined = (" " if auto == "true" else "").join(text.strip() if auto == "true" else text for text in texts)
    assert [word for word in heard if word] == joined.split()


async def test_a_text_that_is_cut_off(server: Any) -> None:
    """Closing a context stops it at once, long before its text is said."""
    headers = {"xi-api-key": server.api_key}
    asked = {"output_format": "pcm_16000", "auto_mode": "true"}
    async with connect(url(server, "multi-stream-input", **asked), additional_headers=headers) as socket:
        await socket.send(json.dumps({"text": "And the ship went on and on. " * 200, "context_id": "a"}))
        first = json.loads(await socket.recv())
        assert first["audio"]
        await socket.send(json.dumps({"context_id": "a", "close_context": True}))
        heard = [first]
        while not heard[-1]["isFinal"]:
            heard.append(json.loads(await socket.recv()))
        await socket.send(json.dumps({"close_socket": True}))
    assert len(pcm_of(heard)) / 32_000 < 200


async def test_a_dialogue_that_comes_in_pieces(server: Any) -> None:
    """As frameworks send `eleven_v3`: voices first, then sentences, each flushed, then the end of the context."""
    headers = {"xi-api-key": server.api_key}
    address = f"{server.ws_url}/v1/text-to-dialogue/multi-stream-input"
    asked = "model_id=eleven_v3&output_format=pcm_16000&sync_alignment=true&enable_logging=true"
    async with connect(f"{address}?{asked}", additional_headers=headers) as socket:
        await socket.send(json.dumps({"context_id": "c", "voices": [VOICE]}))
        for text in ("Who has seen the ship? ", "Nobody has. "):
            line = {"text": text, "voice_id": VOICE}
            await socket.send(json.dumps({"context_id": "c", "inputs": [line], "flush": True}))
        await socket.send(json.dumps({"context_id": "c", "close_context": True}))
        messages: list[dict[str, Any]] = []
        while not (messages and messages[-1].get("is_final")):
            messages.append(json.loads(await socket.recv()))
    characters = "".join("".join((message.get("alignment") or {}).get("chars", [])) for message in messages)
    assert characters == "Who has seen the ship? Nobody has. "
    assert 1.5 < pcm_s(pcm_of([message for message in messages if "audio" in message]), 16_000) < 5


@pytest.mark.parametrize("asked", [{}, {"authorization": "Bearer%20{key}"}])
async def test_a_browser_says_who_it_is_without_a_header(server: Any, asked: dict[str, str]) -> None:
    query = {name: value.format(key=server.api_key) for name, value in asked.items()}
    async with connect(url(server, "stream-input", **query)) as socket:
        await socket.send(json.dumps({"text": " "} if query else {"text": " ", "xi_api_key": server.api_key}))
        await socket.send(json.dumps({"text": "Hello. ", "flush": True}))
        assert json.loads(await socket.recv())["audio"]


async def test_a_browser_that_nobody_knows(server: Any) -> None:
    async with connect(url(server, "multi-stream-input")) as socket:
        await socket.send(json.dumps({"text": " ", "xi_api_key": "wrong"}))
        assert json.loads(await socket.recv())["error"] == "invalid_api_key"
        await socket.wait_closed()
    assert socket.close_code == 1008


async def test_silence_ends_a_connection(server: Any) -> None:
    headers = {"xi-api-key": server.api_key}
    async with connect(url(server, "stream-input", inactivity_timeout=1), additional_headers=headers) as socket:
        assert json.loads(await socket.recv())["error"] == "input_timeout_exceeded"
        await socket.wait_closed()
    assert socket.close_code == 1008

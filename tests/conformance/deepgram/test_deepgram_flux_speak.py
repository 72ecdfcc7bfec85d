"""Deepgram's Flux speech with its own SDK: turns, and an interruption."""

from typing import Any

from deepgram import DeepgramClient
from deepgram.speak.v2.types import (
    SpeakV2Connected,
    SpeakV2Flushed,
    SpeakV2Interrupt,
    SpeakV2InterruptPlaybackOffset,
    SpeakV2SessionMetadata,
    SpeakV2Speak,
    SpeakV2SpeechInterrupted,
    SpeakV2SpeechMetadata,
    SpeakV2SpeechStarted,
)

from vendor_types import check

MODEL = "flux-alexis-en"


def until(live: Any, kind: type) -> tuple[bytes, list[Any]]:
    """The sound and the messages up to one of that kind, each of the SDK's types."""
    sound, messages = b"", []
    while not (messages and isinstance(messages[-1], kind)):
        message = live.recv()
        if isinstance(message, bytes):
            sound += message
            continue
        check(type(message), message.model_dump(exclude_unset=True))
        messages.append(message)
    return sound, messages


def test_turns_come_one_after_the_other(client: DeepgramClient) -> None:
    with client.speak.v2.connect(model=MODEL, encoding="linear16", sample_rate="16000") as live:
        assert isinstance(live.recv(), SpeakV2Connected)
        for text in ("The ship was painted blue.", "Nobody had seen it."):
            live.send_speak(SpeakV2Speak(text=text))
            live.send_flush()
        spoken = []
        for text in ("The ship was painted blue.", "Nobody had seen it."):
            sound, messages = until(live, SpeakV2Flushed)
            started, told, flushed = messages
            assert isinstance(started, SpeakV2SpeechStarted)
            assert isinstance(told, SpeakV2SpeechMetadata)
            assert started.speech_id == told.speech_id == flushed.speech_id
            assert told.input_character_count == told.billable_character_count == len(text)
            assert abs(told.audio_duration_ms - len(sound) / 32) < 2
            spoken.append(told)
        live.send_close()
        _, messages = until(live, SpeakV2SessionMetadata)
        assert messages[-1].total_audio_duration_ms == sum(told.audio_duration_ms for told in spoken)
        assert messages[-1].total_billable_character_count == sum(told.billable_character_count for told in spoken)


def test_an_interruption_says_what_was_heard(client: DeepgramClient) -> None:
    text = "The ship was painted blue. Nobody had seen it before. " * 20
    with client.speak.v2.connect(model=MODEL, encoding="linear16", sample_rate="16000") as live:
        assert isinstance(live.recv(), SpeakV2Connected)
        live.send_speak(SpeakV2Speak(text=text))
        live.send_flush()
        sound = b""
        while len(sound) < 4 * 32_000:  # four seconds
            message = live.recv()
            sound += message if isinstance(message, bytes) else b""
        offset = SpeakV2InterruptPlaybackOffset(type="time_ms", value=2_500)
        live.send_interrupt(SpeakV2Interrupt(playback_offset=offset))
        _, messages = until(live, SpeakV2SpeechInterrupted)
        told = messages[-1]
        assert told.audio_played_ms == 2_500
        assert told.text_spoken + told.text_remaining == text
        assert told.text_spoken.startswith("The ship was painted blue. ")
        assert len(told.text_spoken) < 80
        live.send_speak(SpeakV2Speak(text="Yes?"))
        live.send_flush()
        sound, messages = until(live, SpeakV2Flushed)
        assert [type(message) for message in messages] == [SpeakV2SpeechStarted, SpeakV2SpeechMetadata, SpeakV2Flushed]
        assert 0.1 < len(sound) / 32_000 < 2


def test_a_whole_text(client: DeepgramClient) -> None:
    sound = b"".join(client.speak.v2.audio.generate(model=MODEL, text="Hello there.", encoding="mulaw"))
    assert 0.3 < len(sound) / 8_000 < 3

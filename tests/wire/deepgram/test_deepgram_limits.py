"""What a caller can send at worst: Deepgram's surface answers it in its own shape, and in little time."""

import json

from antiphon.core.events import Cleared, Opened, Spoken
from antiphon.core.wire import Opening
from antiphon.surfaces.deepgram.flux_speak import FluxSpeakEndpoint
from antiphon.surfaces.deepgram.live import LiveListenEndpoint


def test_a_message_that_is_nested_too_deep_ends_a_live_stream_as_any_that_cannot_be_read() -> None:
    stream = LiveListenEndpoint().negotiate(Opening("GET", "/v1/listen")).surface
    stream.emit(Opened("model"), 0)
    nested = "[" * 100_000 + "]" * 100_000
    step = stream.receive(f'{{"type":"KeepAlive","more":{nested}}}', 0)
    assert json.loads(step.sends[0])["variant"] == "SchemaError"
    assert step.close is not None
    assert step.close.code == 1008


def test_nobody_has_played_more_than_was_sent() -> None:
    stream = FluxSpeakEndpoint().negotiate(Opening("GET", "/v2/speak")).surface
    stream.emit(Opened("voice"), 0)
    stream.receive('{"type":"Speak","text":"Hello there."}', 0)
    stream.emit(Spoken(b"sound", 0, 100), 0)
    stream.receive('{"type":"Interrupt","playback_offset":{"type":"time_ms","value":9000}}', 0)
    assert json.loads(stream.emit(Cleared(), 0).sends[0])["audio_played_ms"] == 100
    stream.receive('{"type":"Speak","text":"More."}', 0)
    stream.emit(Spoken(b"sound", 0, 50), 0)
    step = stream.receive('{"type":"Interrupt","playback_offset":{"type":"time_ms","value":150}}', 0)
    assert step.inputs  # the place is after that of the last interruption

"""What ElevenLabs' callers may ask for, up to the limits; the SDK's own types say which formats there are."""

import json
from datetime import UTC, datetime
from time import process_time
from typing import Any, get_args

import pytest
from elevenlabs.text_to_speech.types.text_to_speech_convert_request_output_format import (
    TextToSpeechConvertRequestOutputFormat,
)
from elevenlabs.text_to_speech.types.text_to_speech_stream_request_output_format import (
    TextToSpeechStreamRequestOutputFormat,
)
from elevenlabs.types.text_to_speech_output_format_enum import TextToSpeechOutputFormatEnum
from elevenlabs_script import SPENT

from antiphon.core.endpoints import ProjectSpending
from antiphon.core.errors import AntiphonError
from antiphon.core.events import Cause, CharacterTime, Final, Opened, Spoken, Transcript, Word
from antiphon.core.specs import Line
from antiphon.core.wire import Opening
from antiphon.surfaces.elevenlabs.account import NO_LIMIT, Account
from antiphon.surfaces.elevenlabs.dialogue import TextToDialogue
from antiphon.surfaces.elevenlabs.dialogue_live import LiveDialogueEndpoint
from antiphon.surfaces.elevenlabs.exports import export, read_exports
from antiphon.surfaces.elevenlabs.live import LiveSpeechEndpoint
from antiphon.surfaces.elevenlabs.parameters import FORMATS, media_type, speech_format
from antiphon.surfaces.elevenlabs.speech import MAX_CHARACTERS, Segments, TextToSpeech
from antiphon.surfaces.elevenlabs.webhooks import UpdateWebhook


def names(kind: Any) -> set[str]:
    """Of an SDK's type that is some literals, or anything."""
    return set(get_args(get_args(kind)[0]))


def test_the_formats_are_those_of_the_sdk() -> None:
    assert set(FORMATS) == names(TextToSpeechConvertRequestOutputFormat)
    streamed = names(TextToSpeechStreamRequestOutputFormat)
    assert streamed == {name for name in FORMATS if not name.startswith("wav")}
    assert names(TextToSpeechOutputFormatEnum) < streamed


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_what_its_name_says(name: str) -> None:
    codec, rate, *kilobits = name.split("_")
    format = speech_format(name, streamed=False)
    assert format.sample_rate == int(rate)
    assert format.bit_rate == (int(kilobits[0]) * 1000 if kilobits else None)
    assert (format.codec, format.container) == {
        "mp3": ("mp3", "none"),
        "pcm": ("linear16", "none"),
        "wav": ("linear16", "wav"),
        "ulaw": ("mulaw", "none"),
        "alaw": ("alaw", "none"),
        "opus": ("opus", "ogg"),
    }[codec]
    assert media_type(name).startswith("audio/")


@pytest.mark.parametrize(
    ("body", "query", "taken"),
    [
        ({"text": "a" * MAX_CHARACTERS}, {}, True),
        ({"text": "a" * (MAX_CHARACTERS + 1)}, {}, False),
        ({"seed": 2**32 - 1}, {}, True),
        ({"seed": 2**32}, {}, False),
        ({"previous_request_ids": ["a"] * 3}, {}, True),
        ({"next_request_ids": ["a"] * 4}, {}, False),
        *(({"voice_settings": {"speed": speed}}, {}, True) for speed in (0.7, 1, 1.2)),
        *(({"voice_settings": {"speed": speed}}, {}, False) for speed in (0, 0.69, 1.21, 1e9)),
        *(({}, {"optimize_streaming_latency": str(level)}, 0 <= level <= 4) for level in range(-1, 6)),
    ],
)
def test_limits(body: dict[str, Any], query: dict[str, str], taken: bool) -> None:
    opening = Opening("POST", "/v1/text-to-speech/joe", tuple(query.items()))
    sent = json.dumps({"text": "a"} | body).encode()
    endpoint = TextToSpeech(stream=True, timed=False)
    if taken:
        assert endpoint.negotiate(opening, sent).spec
        return
    with pytest.raises(AntiphonError) as refused:
        endpoint.negotiate(opening, sent)
    assert refused.value.param in {*body, *query, "voice_settings.speed"}


@pytest.mark.parametrize(
    ("seconds", "taken"), [("0", False), ("1", True), ("180", True), ("181", False), ("1.5", False)]
)
def test_patience(seconds: str, taken: bool) -> None:
    opening = Opening("WS", "/v1/text-to-speech/joe/stream-input", (("inactivity_timeout", seconds),))
    endpoint = LiveSpeechEndpoint(many=False)
    if taken:
        assert endpoint.negotiate(opening).spec
        return
    with pytest.raises(AntiphonError) as refused:
        endpoint.negotiate(opening)
    assert refused.value.param == "inactivity_timeout"


@pytest.mark.parametrize(
    ("length", "taken"), [(0, False), (0.5, False), (1, True), (49, True), (500, True), (500.5, False)]
)
def test_schedules(length: float, taken: bool) -> None:
    accepted = LiveSpeechEndpoint(many=False).negotiate(Opening("WS", "/v1/text-to-speech/joe/stream-input"))
    message = {"text": "a", "generation_config": {"chunk_length_schedule": [length]}}
    step = accepted.surface.receive(json.dumps(message), 0)
    assert (step.close is None) == taken
    assert bool(step.inputs) == taken


@pytest.mark.parametrize(
    ("at", "since", "until"),
    [
        ("2026-12-17T12:34:56.789", "2026-12-01", "2027-01-01"),
        ("2026-01-01T00:00:00", "2026-01-01", "2026-02-01"),
        ("2028-02-29T23:59:59.999", "2028-02-01", "2028-03-01"),
    ],
)
def test_months(at: str, since: str, until: str) -> None:
    def unix(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    account = Account(user=False)
    opening = Opening("GET", "/v1/user/subscription", received_unix_ms=round(unix(at) * 1000))
    assert account.since_unix_ms(opening) == unix(since) * 1000
    assert json.loads(account.answer(opening, SPENT).body)["next_character_count_reset_unix"] == unix(until)


def test_more_than_any_limit() -> None:
    opening = Opening("GET", "/v1/user", received_unix_ms=1_796_083_200_000)
    told = json.loads(Account(user=True).answer(opening, ProjectSpending("p", NO_LIMIT + 5)).body)["subscription"]
    assert told["character_count"] == told["character_limit"] == NO_LIMIT + 5


@pytest.mark.parametrize("event", ["", "a\r\nb: c", "flows\n", "événement", "a,b", "a" * 65])
def test_the_name_of_an_event_that_a_header_could_not_hold_is_refused(event: str) -> None:
    body = json.dumps({"is_disabled": False, "name": "ours", "events": [event]}).encode()
    with pytest.raises(AntiphonError) as raised:
        UpdateWebhook().ask(Opening("PATCH", "/v1/workspace/webhooks/a"), body)
    assert raised.value.param == "events"


def _times(text: str) -> tuple[CharacterTime, ...]:
    return tuple(CharacterTime(letter, n, n + 1) for n, letter in enumerate(text))


def test_a_line_without_text_has_no_part_of_a_dialogue() -> None:
    segments = Segments((Line("ann", ""), Line("ann", "Hi"), Line("bob", ""), Line("bob", "yes")))
    told = [*segments.of(_times("Hiy")), *segments.of(_times("es"))]
    assert [(each.dialogue_input_index, each.character_start_index, each.character_end_index) for each in told] == [
        (1, 0, 2),
        (3, 2, 3),
        (3, 3, 5),
    ]


def test_many_short_lines_take_little_time() -> None:
    began = process_time()
    assert len(Segments(tuple(Line("ann", "a") for _ in range(MAX_CHARACTERS))).of(_times("a" * MAX_CHARACTERS)))
    assert process_time() - began < 4  # to copy what is left after each line takes ten seconds


def test_many_formats_of_a_long_recording_take_little_time() -> None:
    """Whether a segment ends is asked for each word, however long the segment is."""
    words = tuple(Word("word", n * 300, n * 300 + 300, 1.0) for n in range(4_000))
    finals = [Final(0, 0, 1_200_000, Transcript("", 1.0, words), Cause.ENDPOINT)]
    (asked,) = read_exports('[{"format":"txt"}]')
    began = process_time()
    assert export(asked, finals, "eng").content == f"{' '.join(['word'] * 4_000)}\n"
    assert process_time() - began < 2  # to join its text anew for each word takes ten seconds


def test_times_that_a_client_adds_up_are_right_as_written_and_as_read_aloud() -> None:
    stream = LiveSpeechEndpoint(many=False).negotiate(Opening("GET", "/v1/text-to-speech/joe/stream-input")).surface
    stream.emit(Opened("voice"), 0)
    begin, *_ = stream.receive('{"text":"A. B."}', 0).inputs
    heard_ms: dict[str, list[int]] = {"alignment": [], "normalizedAlignment": []}
    added_ms = dict.fromkeys(heard_ms, 0)
    for start_ms, letter in ((0, "A"), (1_000, "B")):
        written = CharacterTime(letter, start_ms, start_ms + 500), CharacterTime(".", start_ms + 500, start_ms + 1_000)
        read = (CharacterTime(letter, start_ms, start_ms + 400), CharacterTime(" ", start_ms + 400, start_ms + 400))
        spoken = Spoken(b"sound", start_ms, start_ms + 1_000, written, read, begin.context)
        message = json.loads(stream.emit(spoken, 0).sends[0])
        for name, heard in heard_ms.items():
            starts, lengths = message[name]["charStartTimesMs"], message[name]["charDurationsMs"]
            heard.append(added_ms[name] + starts[0])
            added_ms[name] += starts[-1] + lengths[-1]
    assert heard_ms == {"alignment": [0, 1_000], "normalizedAlignment": [0, 1_000]}


def test_a_line_without_a_voice_is_refused() -> None:
    body = {"inputs": [{"text": "One.", "voice_id": "ann"}, {"text": "Two.", "voice_id": ""}]}
    with pytest.raises(AntiphonError) as raised:
        TextToDialogue(stream=False, timed=False).negotiate(
            Opening("POST", "/v1/text-to-dialogue"), json.dumps(body).encode()
        )
    assert raised.value.param == "inputs"


def test_a_context_of_a_dialogue_with_a_voice_without_a_name_is_refused() -> None:
    stream = LiveDialogueEndpoint().negotiate(Opening("GET", "/v1/text-to-dialogue/multi-stream-input")).surface
    stream.emit(Opened("voice"), 0)
    step = stream.receive('{"context_id":"a","voices":["ann",""],"inputs":[{"text":"One.","voice_id":""}]}', 0)
    assert not step.inputs
    assert json.loads(step.sends[0])["message"].startswith("voices: ")

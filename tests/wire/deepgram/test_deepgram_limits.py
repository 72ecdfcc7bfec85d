"""What a caller can send at worst: Deepgram's surface answers it in its own shape, and in little time."""

import json
from random import Random
from string import ascii_lowercase
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.core.errors import CallerError
from antiphon.core.events import AllSpoken, Cause, Cleared, Final, Interim, Opened, Spoken, Transcript, TurnMayEnd, Word
from antiphon.core.wire import Opening
from antiphon.surfaces.deepgram.flux import FluxEndpoint
from antiphon.surfaces.deepgram.flux_speak import FluxSpeakEndpoint
from antiphon.surfaces.deepgram.live import LiveListenEndpoint
from antiphon.surfaces.deepgram.parameters import read
from antiphon.surfaces.deepgram.search import ALIKE, MAX_SEARCHES, _alike, search


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
    assert json.loads(stream.emit(Cleared(), 0).sends[0])["audio_played_ms"] == 9000  # as the SDK's type says
    stream.receive('{"type":"Speak","text":"More."}', 0)
    stream.emit(Spoken(b"sound", 0, 50), 0)
    step = stream.receive('{"type":"Interrupt","playback_offset":{"type":"time_ms","value":150}}', 0)
    assert step.inputs  # the place is after that of the last interruption
    stream.emit(Cleared(), 0)
    (total, *_) = stream.emit(AllSpoken(12, 150), 0).sends
    assert json.loads(total)["total_audio_duration_ms"] == 150


def test_long_searches_of_a_long_recording_take_little_time() -> None:
    chance = Random(1)
    made = ["".join(chance.choices(ascii_lowercase, k=5)) for _ in range(3_000)]
    queries = [" ".join(made[start : start + 21]) for start in range(0, MAX_SEARCHES * 21, 21)]
    words = [Word(text, n * 300, n * 300 + 300, 1.0) for n, text in enumerate(made)]
    began = process_time()
    found = search(queries, words)
    assert process_time() - began < 8  # to compare each word with each takes half a minute
    assert found is not None
    assert [hit.start for each in found for hit in each.hits] == pytest.approx([n * 6.3 for n in range(MAX_SEARCHES)])


@given(st.lists(st.text("abc", min_size=1, max_size=4), max_size=8), st.text("abc ", max_size=10))
def test_no_hit_is_missed(heard: list[str], query: str) -> None:
    words = [Word(text, n, n + 1, 1.0) for n, text in enumerate(heard)]
    parts = query.split()
    found = search((query,), words)
    assert found is not None
    best = 0.0
    for start in range(len(heard) - len(parts) + 1):
        sure = [_alike(part, heard[start + n]) * len(part) for n, part in enumerate(parts)]
        best = max(best, sum(sure) / max(1, sum(map(len, parts))))
    assert [hit.confidence for hit in found[0].hits][:1] == ([round(best, 6)] if best >= ALIKE else [])


def test_a_turn_without_a_pause_ends_before_its_messages_are_huge() -> None:
    stream = FluxEndpoint().negotiate(Opening("GET", "/v2/listen", (("model", "flux-general-en"),))).surface
    stream.emit(Opened("model"), 0)
    told = []
    for part in range(8):
        words = tuple(Word(f"word{n}", n, n + 1, 1.0) for n in range(100))
        said = Transcript(" ".join(word.text for word in words), 1.0, words)
        told += stream.emit(Final(0, part * 30_000, part * 30_000 + 30_000, said, Cause.LENGTH, 1.0), 0).sends
    heard = [json.loads(message) for message in told]
    assert [each["event"] for each in heard] == [
        "StartOfTurn",
        *["Update"] * 3,
        "EndOfTurn",
        "StartOfTurn",
        *["Update"] * 2,
    ]
    assert [len(each["words"]) for each in heard] == [100, 200, 300, 400, 500, 100, 200, 300]
    assert (heard[4]["trigger"], heard[4]["end_of_turn_confidence"], heard[5]["turn_index"]) == ("length", 0.0, 1)


def test_a_rate_that_the_audio_itself_says_is_told_to_have_no_effect() -> None:
    query = (("model", "flux-general-en"), ("encoding", "ogg-opus"), ("sample_rate", "16000"))
    opened = FluxEndpoint().negotiate(Opening("GET", "/v2/listen", query))
    assert opened.without_effect == ("sample_rate",)
    _, warning = opened.surface.emit(Opened("model"), 0).sends
    assert "`sample_rate` has no effect" in json.loads(warning)["description"]


def test_a_turn_that_began_ends_even_if_nothing_was_said() -> None:
    query = (("model", "flux-general-en"), ("eager_eot_threshold", "0.4"))
    stream = FluxEndpoint().negotiate(Opening("GET", "/v2/listen", query)).surface
    stream.emit(Opened("model"), 0)
    said = Transcript("Hm.", 1.0, (Word("Hm.", 0, 100, 1.0),))
    events = (
        Interim(0, 0, 100, said, 0.1),
        TurnMayEnd(0, 100),
        Final(0, 0, 200, Transcript("", 0.0), Cause.ENDPOINT, 0.9),
        Interim(0, 300, 400, said, 0.1),
    )
    told = [json.loads(message) for event in events for message in stream.emit(event, 0).sends]
    assert [(each["event"], each["turn_index"], each["transcript"]) for each in told] == [
        ("StartOfTurn", 0, "Hm."),
        ("EagerEndOfTurn", 0, "Hm."),
        ("TurnResumed", 0, ""),
        ("EndOfTurn", 0, ""),
        ("StartOfTurn", 1, "Hm."),
    ]


def test_a_boost_without_a_word_guides_towards_nothing() -> None:
    query = (("keywords", ":5"), ("keywords", "antiphon :2"), ("keywords", "no:-1"))
    assert LiveListenEndpoint().negotiate(Opening("GET", "/v1/listen", query)).spec.keyterms == ("antiphon",)


def test_numbers_may_have_all_digits_that_a_program_writes() -> None:
    query = (("model", "flux-general-en"), ("eot_threshold", str(0.1 * 7)), ("eager_eot_threshold", str(0.1 + 0.2)))
    turns = FluxEndpoint().negotiate(Opening("GET", "/v2/listen", query)).spec.turns
    assert turns is not None
    assert (turns.confidence, turns.early_confidence) == (0.1 * 7, 0.1 + 0.2)
    assert (
        FluxSpeakEndpoint().negotiate(Opening("GET", "/v2/speak", (("speed", str(1.1 * 1.1)),))).spec.speed == 1.1 * 1.1
    )
    assert read((("utterances", "true"), ("utt_split", str(0.1 * 3))), live=False).utt_split_ms == 300


def test_how_often_a_parameter_may_be_given_is_told() -> None:
    with pytest.raises(CallerError, match="`keyterm` was given more than 200 times"):
        read([("keyterm", "a")] * 201, live=True)
    with pytest.raises(CallerError, match="`model` was given more than once"):
        read([("model", "a")] * 2, live=True)

"""Deepgram's Flux with its own SDK: turns of real speech, against the real models."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from deepgram import DeepgramClient
from deepgram.listen.v2.types import (
    ListenV2CloseStream,
    ListenV2Configure,
    ListenV2ConfigureFailure,
    ListenV2ConfigureSuccess,
    ListenV2ConfigureThresholds,
    ListenV2Connected,
    ListenV2ForceEndTurn,
    ListenV2TurnInfo,
    ListenV2Warning,
)
from deepgram_environment import environment

from vendor_types import check

RATE = 16_000
SILENCE = bytes(2 * RATE * 2)  # two seconds
PACE = 4  # times as fast as speech
EVENTS = {"Update", "StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"}


@pytest.fixture(scope="module")
def sentence(server: Any) -> bytes:
    """`The ship was painted blue.`, 16 kHz mono int16."""
    speaker = DeepgramClient(api_key=server.api_key, environment=environment(server))
    spoken = speaker.speak.v1.audio.generate(
        text="The ship was painted blue.", encoding="linear16", container="none", sample_rate=RATE
    )
    return b"".join(spoken)


def listened(client: DeepgramClient, pieces: Sequence[bytes | dict[str, Any]], **query: Any) -> list[Any]:
    """Everything that is said while these are sent, audio at a pace, up to the close; each of the SDK's types."""
    asked = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": RATE, **query}
    with client.listen.v2.connect(**asked) as live:
        messages = [live.recv()]

        def speak() -> None:
            for piece in pieces:
                if isinstance(piece, dict):
                    live.send_configure(piece)
                    continue
                for at in range(0, len(piece), RATE // 5):
                    live.send_media(piece[at : at + RATE // 5])
                    time.sleep(0.1 / PACE)
            time.sleep(1)  # what was said last is still being recognised
            live.send_close_stream(ListenV2CloseStream(type="CloseStream"))

        speaking = threading.Thread(target=speak)
        speaking.start()
        messages += list(live)
        speaking.join()
    assert isinstance(messages[0], ListenV2Connected)
    assert [message.sequence_id for message in messages] == list(range(len(messages)))
    for message in messages:
        check(type(message), message.model_dump(exclude_unset=True))
    return messages


def turns(messages: list[Any]) -> list[ListenV2TurnInfo]:
    told = [message for message in messages if isinstance(message, ListenV2TurnInfo)]
    assert {info.event for info in told} <= EVENTS
    return told


def test_two_turns(client: DeepgramClient, sentence: bytes) -> None:
    told = turns(listened(client, [sentence, SILENCE, sentence, SILENCE], eager_eot_threshold=0.3, eot_timeout_ms=1500))
    ends = [info for info in told if info.event == "EndOfTurn"]
    assert [info.turn_index for info in ends] == [0, 1]
    # One that the recogniser ends in a comma waits for the timeout.
    assert {info.trigger for info in ends} <= {"model", "timeout"}
    for index, end in enumerate(ends):
        of_turn = [info for info in told if info.turn_index == index]
        assert of_turn[0].event == "StartOfTurn"
        assert [info.event for info in of_turn].count("StartOfTurn") == 1
        assert of_turn[-1] is end
        if end.trigger == "model":
            assert of_turn[-2].event == "EagerEndOfTurn"
            assert of_turn[-2].transcript == end.transcript
            assert of_turn[-2].end_of_turn_confidence < end.end_of_turn_confidence
        assert end.transcript.startswith("The ship was painted")
        assert " ".join(word.word for word in end.words) == end.transcript
        assert end.audio_window_start <= end.words[0].start < end.words[-1].end <= end.audio_window_end + 0.1
    assert ends[0].audio_window_end < ends[1].audio_window_start


def test_a_turn_that_only_the_timeout_ends(client: DeepgramClient, sentence: bytes) -> None:
    told = turns(listened(client, [sentence, SILENCE], eot_threshold=1.0, eot_timeout_ms=1000))
    assert (told[-1].event, told[-1].trigger) == ("EndOfTurn", "timeout")
    assert not any(info.event == "EagerEndOfTurn" for info in told)


def test_a_turn_that_the_caller_ends(client: DeepgramClient, sentence: bytes) -> None:
    told = turns(listened(client, [sentence, ListenV2ForceEndTurn(type="ForceEndTurn").model_dump(), SILENCE]))
    assert (told[-1].event, told[-1].trigger) == ("EndOfTurn", "manual")
    assert told[-1].transcript.startswith("The ship was painted")


def test_turns_are_configured_in_mid_stream(client: DeepgramClient, sentence: bytes) -> None:
    faster = ListenV2Configure(
        type="Configure",
        thresholds=ListenV2ConfigureThresholds(eot_threshold=0.9, eot_timeout_ms=700),
        keyterms=["ship"],
    ).model_dump(exclude_none=True)
    wrong = {"type": "Configure", "thresholds": {"eot_threshold": 0.2}}
    messages = listened(client, [faster, wrong, sentence, SILENCE], eot_threshold=1.0, eot_timeout_ms=60_000)
    success = next(message for message in messages if isinstance(message, ListenV2ConfigureSuccess))
    assert (success.thresholds.eot_threshold, success.thresholds.eot_timeout_ms) == (0.9, 700)
    assert any(isinstance(message, ListenV2ConfigureFailure) for message in messages)
    assert [message.code for message in messages if isinstance(message, ListenV2Warning)] == ["NO_EFFECT"]
    told = turns(messages)
    assert (told[-1].event, told[-1].trigger) == ("EndOfTurn", "timeout")


def test_silence_is_no_turn(client: DeepgramClient) -> None:
    assert turns(listened(client, [SILENCE])) == []

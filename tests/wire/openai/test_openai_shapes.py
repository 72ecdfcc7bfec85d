"""Everything that the golden scripts of OpenAI's surfaces say, against the SDK's own types (`sdk_shapes.py`)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from realtime_script import Player

from sdk_shapes import check_any, check_error, check_realtime

HERE = Path(__file__).parent
SCRIPTS = sorted(path.name for path in HERE.glob("*.txt"))
REALTIME = sorted(path.name for path in (HERE / "realtime").glob("*.txt"))
NOT_TYPED = ("speech.audio.delta", "speech.audio.done")  # by the SDK


def said(name: str) -> Iterator[Any]:
    """The JSON objects that leave in a script."""
    for line in (HERE / name).read_text().splitlines():
        if line.startswith(("> ", "! ")):
            text = line[2:].removeprefix("data: ")
            start = text.find("{")
            if start >= 0 and text[:start].strip() in ("", *map(str, range(400, 600))):
                yield json.loads(text[start:])


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_sdk_knows_every_answer_and_every_field(name: str) -> None:
    told = [each for each in said(name) if each.get("type") not in NOT_TYPED]
    for each in told:
        check_any(each)
    assert told or name in ("formats.txt",)


@pytest.mark.parametrize("name", REALTIME)
def test_the_sdk_knows_every_event_and_every_field(name: str) -> None:
    player = Player()
    player.play((HERE / "realtime" / name).read_text())
    assert player.sent
    for line in player.sent:
        check_realtime(json.loads(line))


MODEL = {"id": "m", "created": 1, "owned_by": "o", "object": "model"}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@pytest.mark.parametrize(
    "told",
    [
        {"id": "m", "created": 1, "object": "model"},
        {**MODEL, "created": "1"},
        {**MODEL, "invented": 1},
        {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "mood": "good"}, "finish_reason": None}]},
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "bored"}]},
        {"object": "something"},
        {"error": {"message": "m", "type": "t", "param": None, "code": None, "status": 400}},
        {"type": "response.created", "sequence_number": 0},
    ],
)
def test_what_is_otherwise_is_found(told: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, AssertionError)):
        check_any(told)


@pytest.mark.parametrize(
    "told",
    [
        {"type": "session.created", "event_id": "e", "session": {"type": "realtime", "invented": 1}},
        {"type": "input_audio_buffer.cleared"},
        {"type": "input_audio_buffer.cleared", "event_id": "e", "invented": 1},
        {"type": "invented", "event_id": "e"},
    ],
)
def test_what_is_otherwise_is_found_in_realtime_events(told: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, AssertionError)):
        check_realtime(told)


def test_an_error_has_nothing_beside_it() -> None:
    with pytest.raises(AssertionError):
        check_error({"error": {"message": "m", "type": "t", "param": None, "code": "c"}, "detail": ""})

"""Every script is played; what goes out is what it says, and what the official SDK's types take."""

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter
from realtime_script import Player

from antiphon.core.wire import SYNTHETIC, Opening
from antiphon.surfaces.openai.realtime.live import RealtimeEndpoint

SCRIPTS = sorted((Path(__file__).parent / "realtime").glob("*.txt"))
ADAPTER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_goes_as_it_says(path: Path):
    script = path.read_text()
    assert Player().play(script) == script


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_sdk_knows_every_event_and_every_field(path: Path):
    player = Player()
    player.play(path.read_text())
    for line in player.sent:
        told = json.loads(line)
        known = ADAPTER.validate_python({**told, "previous_item_id": ""} if "previous_item_id" in told else told)
        assert known.type == told["type"]
        assert not _strange(known), line


def test_event_ids_differ():
    player = Player()
    for path in SCRIPTS:
        player.play(path.read_text())
        ids = [json.loads(line)["event_id"] for line in player.sent]
        openings = path.read_text().count("\n? ") + path.read_text().startswith("? ")
        if openings == 1:
            assert len(set(ids)) == len(ids)
        player.sent.clear()


def _strange(model: BaseModel) -> list[str]:
    """Fields that the SDK's type of an event does not have, but for those that only its types of answers have."""
    found = [name for name in model.model_extra or {} if name not in KNOWN]
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, BaseModel):
                found += [f"{name}.{inner}" for inner in _strange(each)]
    return found


# Of session objects, which the SDK types in events as callers write them, and nowhere as they are read; and the
# argument's name that other events have.
KNOWN = {"id", "object", "expires_at", "parallel_tool_calls"}


@pytest.mark.parametrize(("intent", "headers"), [("", SYNTHETIC), ("transcription", ())])
def test_who_will_be_spoken_to_is_told_that_the_speech_is_synthetic(intent, headers):
    query = (("intent", intent),) if intent else (("model", "m"),)
    assert RealtimeEndpoint().negotiate(Opening("GET", "/v1/realtime", query)).headers == headers

"""Every order and every mutation of what a caller may say is one input or one error, and the session goes on."""

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from realtime_script import REQUEST_ID

from antiphon.core.conversation.inputs import Configure, Reject
from antiphon.core.conversation.outputs import Began, Configured, Refused
from antiphon.core.conversation.spec import ConverseSpec, Transcription
from antiphon.core.errors import CallerError
from antiphon.core.wire import Opening, Step
from antiphon.surfaces.openai.realtime.live import Realtime, RealtimeEndpoint

SCRIPTS = sorted((Path(__file__).parent / "realtime").glob("*.txt"))
SAID = [line[2:] for path in SCRIPTS for line in path.read_text().splitlines() if line.startswith("> {")]
EVENTS = [json.loads(line) for line in SAID]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text(st.characters(codec=None), max_size=40)  # half a character included


def opened(answers: bool = True) -> Realtime:
    query = (("model", "m"),) if answers else (("intent", "transcription"),)
    surface = RealtimeEndpoint().negotiate(Opening("GET", "/v1/realtime", query, request_id=REQUEST_ID)).surface
    assert isinstance(surface, Realtime)
    spec = ConverseSpec("m") if answers else ConverseSpec(answers=False, transcription=Transcription())
    surface.emit(Began("00000000-0000-4000-8000-000000000001", spec, 1), 0)
    return surface


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An event of which some place is lost, or is something else, or has something more."""
    event = copy.deepcopy(draw(st.sampled_from(EVENTS)))
    for _ in range(draw(st.integers(0, 3))):
        at: Any = event
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], (dict, list)) and at[key] and draw(st.booleans()):
                at = at[key]
                continue
            match draw(st.integers(0, 2)):
                case 0:
                    del at[key]
                case 1:
                    at[key] = draw(JSON)
                case 2 if isinstance(at, dict):
                    at[draw(st.text(max_size=8))] = draw(JSON)
            break
    return json.dumps(event)


def check(step: Step) -> None:
    """One input, or one error in the shape that every client knows."""
    assert step.close is None
    assert len(step.inputs) + len(step.sends) == 1
    for sent in step.sends:
        assert isinstance(sent, str)
        told = msgspec.json.decode(sent)
        assert told["type"] == "error"
        assert told["error"]["type"] == "invalid_request_error"
        assert told["error"]["message"]
        assert told["error"]["code"]


@given(st.lists(mutated(), max_size=6), st.booleans(), st.data())
def test_every_mutation_is_an_input_or_an_error(messages: list[str], answers: bool, data: st.DataObject):
    surface = opened(answers)
    for message in messages:
        step = surface.receive(message, 0)
        check(step)
        for each in step.inputs:
            if isinstance(each, Configure):  # what is configured can be shown, or refused
                if data.draw(st.booleans()):
                    shown = surface.emit(Configured(each.spec, each.event_id), 0)
                    assert msgspec.json.decode(str(shown.sends[0]))["type"] == "session.updated"
                else:
                    check(surface.emit(Refused(CallerError("No."), each.event_id), 0))


@given(TEXTS | st.binary(max_size=40) | JSON.map(json.dumps))
def test_what_is_no_event_is_an_error(message: str | bytes):
    surface = opened()
    check(surface.receive(message, 0))
    check(surface.receive('{"type": "response.create"}', 0))


@given(st.text(max_size=600))
def test_an_error_is_about_the_event_whose_id_it_has(event_id: str):
    message = json.dumps({"type": "response.cancel", "event_id": event_id, "strange": 1})
    surface = opened()
    (rejected,) = surface.receive(message, 0).inputs
    assert isinstance(rejected, Reject)
    (sent,) = surface.emit(Refused(rejected.error, rejected.event_id), 0).sends
    told = msgspec.json.decode(str(sent))["error"]["event_id"]
    assert told == (event_id if len(event_id) <= 512 and event_id else None)


@given(st.text(max_size=512))
def test_what_the_conversation_refuses_comes_back_with_the_id(event_id: str):
    surface = opened()
    (said,) = surface.receive(json.dumps({"type": "response.cancel", "event_id": event_id}), 0).inputs
    (sent,) = surface.emit(Refused(CallerError("No."), said.event_id), 0).sends
    assert msgspec.json.decode(str(sent))["error"]["event_id"] == (event_id or None)


def configured(surface: Realtime, **session: Any) -> Configure:
    (asked,) = surface.receive(json.dumps({"type": "session.update", "session": session}), 0).inputs
    assert isinstance(asked, Configure)
    return asked


def test_what_was_refused_is_expected_no_more():
    surface = opened()
    refused = configured(surface, audio={"output": {"voice": "nobody"}})
    kept = configured(surface, instructions="Be brief.")
    assert kept.base == refused.spec
    surface.emit(Refused(CallerError("No."), refused.event_id), 0)
    expected = configured(surface, output_modalities=["text"]).base
    assert expected == ConverseSpec("m", instructions="Be brief.")
    surface.emit(Configured(ConverseSpec("m", instructions="Be brief."), kept.event_id), 0)
    assert configured(surface).base == ConverseSpec("m", instructions="Be brief.", speak=False)


def test_every_event_of_the_scripts_is_reached():
    assert len({event.get("type") for event in EVENTS if isinstance(event.get("type"), str)}) >= 11


@given(JSON.map(json.dumps) | mutated())
def test_what_a_secret_settles_is_taken_or_refused(settled: str):
    opening = Opening("GET", "/v1/realtime", (("model", "m"),), request_id=REQUEST_ID, settled=settled.encode())
    with suppress(CallerError):
        assert RealtimeEndpoint().negotiate(opening).spec.model in ("m", "")

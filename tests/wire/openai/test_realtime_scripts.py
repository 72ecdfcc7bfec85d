"""Every script is played; what goes out is what it says, and what the official SDK's types take."""

import json
from pathlib import Path

import pytest
from realtime_script import Player

from antiphon.core.wire import SYNTHETIC, Opening
from antiphon.surfaces.openai.realtime.live import RealtimeEndpoint

SCRIPTS = sorted((Path(__file__).parent / "realtime").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_goes_as_it_says(path: Path):
    script = path.read_text()
    assert Player().play(script) == script


def test_event_ids_differ():
    player = Player()
    for path in SCRIPTS:
        player.play(path.read_text())
        ids = [json.loads(line)["event_id"] for line in player.sent]
        openings = path.read_text().count("\n? ") + path.read_text().startswith("? ")
        if openings == 1:
            assert len(set(ids)) == len(ids)
        player.sent.clear()


@pytest.mark.parametrize(("intent", "headers"), [("", SYNTHETIC), ("transcription", ())])
def test_who_will_be_spoken_to_is_told_that_the_speech_is_synthetic(intent, headers):
    query = (("intent", intent),) if intent else (("model", "m"),)
    assert RealtimeEndpoint().negotiate(Opening("GET", "/v1/realtime", query)).headers == headers

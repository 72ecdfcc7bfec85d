"""ElevenLabs' SDK for Node has a recording and a live stream transcribed, with a key and with single-use tokens."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from node_packages import CACHE, NODE, beside_packages, needs_node

from antiphon.core.text import plain

SAID = "ever tried ever failed"
TALK_S = 120

pytestmark = [*needs_node, pytest.mark.long]


def test_transcripts_in_node(server: Any, beckett: Path) -> None:
    script = beside_packages("scribe.js")
    arguments = [str(NODE), str(script), server.base_url, server.api_key, str(beckett)]
    ran = subprocess.run(arguments, cwd=CACHE, timeout=TALK_S, capture_output=True, text=True, check=False)
    assert ran.stdout, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == 0, told
    assert SAID in plain(told["text"])
    assert told["words"] > 20
    assert told["subtitles"].startswith("1\n00:00:0")
    assert all(len(line) <= 20 for line in told["subtitles"].splitlines() if "-->" not in line)
    assert told["refused"]["status"] == 404
    assert told["refused"]["body"]["detail"]["status"] == "model_not_found"
    assert told["redaction"]["status"] == 400
    for live in (told["live"], told["byToken"]):
        assert SAID in plain(live["committed"][0])
        assert live["timed"][0] > 20
        assert live["partials"] > 0
        assert live["errors"] == []
    assert "auth_error" in told["again"]["errors"]
    assert told["again"]["committed"] == []
    assert SAID in plain(told["wholeByToken"])
    hook = told["hook"]
    assert (hook["name"], hook["isDisabled"], hook["events"]) == ("renamed", True, ["speech_to_text"])
    assert (told["secret"], told["deleted"]) == ("wsec_", "ok")

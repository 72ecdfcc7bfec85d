"""Deepgram's SDK for Node: live streams, as browsers open them too, and recordings."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from node_packages import CACHE, NODE, beside_packages, needs_node

from antiphon.core.text import plain
from serving import Server

SAID = "ever tried ever failed"
TALK_S = 120

pytestmark = [*needs_node, pytest.mark.long]


def test_deepgram_in_node(server: Server, ever_tried: Path) -> None:
    script = beside_packages("listen.js")
    arguments = [str(NODE), str(script), server.base_url, server.api_key, str(ever_tried)]
    ran = subprocess.run(arguments, cwd=CACHE, timeout=TALK_S, capture_output=True, text=True, check=False)
    assert ran.stdout, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert ran.returncode == 0, (told, ran.stderr)
    for name, heard in told["live"].items():
        assert SAID in plain(" ".join(heard["finals"])), name
        assert heard["code"] == 1000
    assert [told["live"][name]["protocol"] for name in ("token", "bearer")] == ["token", "bearer"]
    options = told["live"]["options"]
    assert {"Results", "SpeechStarted", "Metadata"} <= set(options["types"])
    assert options["extra"] == {"x": "1", "y": "2"}
    assert "TRIED" in " ".join(options["finals"])
    assert told["refused"] == ["Unexpected server response: 400"]
    for name, (text, searches) in told["files"].items():
        assert SAID in plain(text), name
        assert searches == 2

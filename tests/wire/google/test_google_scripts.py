"""Google's surfaces against their wire scripts, byte by byte, and against the types of Google's own SDK."""

from pathlib import Path

import pytest
from google.cloud.speech_v1.types import cloud_speech as sdk_v1
from google.cloud.speech_v2.types import cloud_speech as sdk_v2
from google_script import Player

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.wire"))
SDKS = {"google.cloud.speech.v1": sdk_v1, "google.cloud.speech.v2": sdk_v2}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path: Path) -> None:
    script = path.read_text()
    assert Player().play(script) == script


def test_every_message_is_the_sdks() -> None:
    """Its class reads the bytes, knows every field, and writes the same."""
    seen = set()
    for path in SCRIPTS:
        player = Player()
        player.play(path.read_text())
        for name, sent in player.sent:
            package, _, kind = name.rpartition(".")
            message = getattr(SDKS[package], kind).pb().FromString(sent)
            known = type(message)()
            known.CopyFrom(message)
            known.DiscardUnknownFields()
            assert known == message
            assert known.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)
            seen.add(name)
    assert len(seen) == 4

"""Every format that a caller can ask for can be made."""

import math
import struct
from collections.abc import Iterator

import pytest

from antiphon.audio.encode import SpeechEncoder
from antiphon.core.audio import SpeechFormat
from antiphon.core.errors import CallerError
from antiphon.surfaces.deepgram import speak_parameters
from antiphon.surfaces.elevenlabs import parameters
from antiphon.surfaces.openai import speech

TONE = b"".join(struct.pack("<h", int(9_000 * math.sin(n / 9))) for n in range(8_000))
ENCODINGS = ("linear16", "mulaw", "alaw", "mp3", "opus", "flac", "aac")
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 48_000)
BIT_RATES = (4_000, 12_000, 32_000, 48_000, 192_000, 650_000)


def formats() -> Iterator[SpeechFormat]:
    yield from (form for form, _ in speech.FORMATS.values())
    yield from parameters.FORMATS.values()
    for encoding in ENCODINGS:
        for name, values in (("sample_rate", RATES), ("bit_rate", BIT_RATES), ("container", ("none", "wav", "ogg"))):
            for value in values:
                try:
                    yield speak_parameters.read((("encoding", encoding), (name, str(value))), "Hi").format
                except CallerError:
                    continue


@pytest.mark.parametrize("form", sorted(set(formats()), key=repr), ids=str)
def test_it_can_be_made(form: SpeechFormat) -> None:
    encoder = SpeechEncoder(form, 22_050)
    assert encoder.push(TONE) + encoder.finish()

"""How audio is described. Inside the house there is one form: 16 kHz, mono, signed 16-bit little-endian (`PCM`).

Positions and lengths are integer samples at 16 kHz, or integer milliseconds where a name ends in `_ms`.
"""

from dataclasses import dataclass
from enum import StrEnum

SAMPLE_RATE = 16_000
BYTES_PER_SAMPLE = 2
BYTES_PER_MS = SAMPLE_RATE * BYTES_PER_SAMPLE // 1000

MIN_RATE, MAX_RATE = 4_000, 192_000
MAX_CHANNELS = 8


class Encoding(StrEnum):
    """How the caller's bytes carry samples. `CONTAINER` means: the bytes themselves say."""

    LINEAR16 = "linear16"
    LINEAR32 = "linear32"
    MULAW = "mulaw"
    ALAW = "alaw"
    OPUS = "opus"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What the caller declared. `sample_rate` (Hz) and `channels` are unused for `CONTAINER`, whose bytes decide.

    Raw `OPUS` is one packet a message, no framing.
    """

    encoding: Encoding = Encoding.CONTAINER
    sample_rate: int = SAMPLE_RATE
    channels: int = 1


class Codec(StrEnum):
    """How speech that leaves is coded."""

    LINEAR16 = "linear16"  # little-endian
    MULAW = "mulaw"
    ALAW = "alaw"
    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"  # in ADTS frames
    FLAC = "flac"


class Container(StrEnum):
    """What is around it. MP3, AAC and FLAC frame themselves."""

    NONE = "none"
    WAV = "wav"
    OGG = "ogg"


@dataclass(frozen=True, slots=True)
class SpeechFormat:
    """How speech leaves: one channel, `sample_rate` in Hz, `bit_rate` in bits a second where the codec has one (`None`:
    the codec's usual one).
    """

    codec: Codec = Codec.LINEAR16
    container: Container = Container.NONE
    sample_rate: int = 24_000
    bit_rate: int | None = None


def samples_to_ms(samples: int) -> int:
    """Whole milliseconds in that many 16 kHz samples, rounded down."""
    return samples * 1000 // SAMPLE_RATE


def ms_to_samples(ms: int) -> int:
    return ms * SAMPLE_RATE // 1000

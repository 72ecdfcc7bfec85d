"""A copy of a recording in which some of its times cannot be heard: a tone or silence is there instead."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from antiphon.audio.encode import SpeechEncoder
from antiphon.core.audio import BYTES_PER_SAMPLE, SAMPLE_RATE, Codec, Container, SpeechFormat, ms_to_samples
from antiphon.core.redaction import Cover, RedactedAudio

MARGIN_MS = 50  # around each hidden word: with more, its neighbours are lost
BEEP_HZ, BEEP_LEVEL = 1_000, 4_000
MP3_BIT_RATE = 64_000
PIECE_SAMPLES = 10 * SAMPLE_RATE
MAX_BYTES = 32 << 20  # of the copy: over an hour of MP3, a quarter of an hour of WAV
TAGS = {"comment": "A copy without what is hidden in its transcript."}


def cover(channels: Sequence[memoryview], times_ms: Sequence[tuple[int, int]], wanted: RedactedAudio) -> bytes:
    """Return the recording, its channels mixed to one, none of which is heard at any of these times. Empty if it would
    be larger than `MAX_BYTES`. It blocks.
    """
    count = len(channels[0]) // BYTES_PER_SAMPLE
    raw = wanted.codec is Codec.LINEAR16
    expected = count * BYTES_PER_SAMPLE if raw else count * MP3_BIT_RATE // 8 // SAMPLE_RATE
    if expected > MAX_BYTES:
        return b""
    form = SpeechFormat(
        wanted.codec,
        Container.WAV if raw else Container.NONE,
        SAMPLE_RATE,
        None if raw else MP3_BIT_RATE,
    )
    encoder = SpeechEncoder(form, SAMPLE_RATE, whole=True, tags=TAGS)
    hidden = [(ms_to_samples(start - MARGIN_MS), ms_to_samples(end + MARGIN_MS)) for start, end in times_ms]
    for at in range(0, count, PIECE_SAMPLES):
        encoder.push(_piece(channels, at, min(count, at + PIECE_SAMPLES), hidden, wanted.cover).tobytes())
    copy = encoder.finish()
    return copy if len(copy) <= MAX_BYTES else b""


def _piece(
    channels: Sequence[memoryview], start: int, end: int, hidden: Sequence[tuple[int, int]], cover: Cover
) -> NDArray[np.int16]:
    parts = [
        np.frombuffer(pcm[start * BYTES_PER_SAMPLE : end * BYTES_PER_SAMPLE], dtype="<i2").astype(np.int32)
        for pcm in channels
    ]
    mixed: NDArray[np.int16] = (np.sum(parts, axis=0) // len(parts)).astype("<i2")
    for begin, stop in hidden:
        places = np.arange(max(start, begin), min(end, stop))
        if cover is Cover.BEEP:
            mixed[places - start] = np.sin(2 * np.pi * BEEP_HZ * places / SAMPLE_RATE) * BEEP_LEVEL
        else:
            mixed[places - start] = 0
    return mixed

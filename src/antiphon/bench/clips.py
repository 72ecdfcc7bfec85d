"""Reading of the operator's own clips and their references from disk, before any stream opens."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

from antiphon.bench.speech import Span, utterances
from antiphon.core.audio import BYTES_PER_SAMPLE, SAMPLE_RATE
from antiphon.core.errors import BadMedia, CallerError


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording to play: 16 kHz mono int16, its utterances, and its reference text if known."""

    name: str
    pcm: bytes
    utterances: tuple[Span, ...]
    reference: str | None = None

    @property
    def samples(self) -> int:
        return len(self.pcm) // BYTES_PER_SAMPLE


def load(path: Path, references: Mapping[str, str]) -> Clip:
    """Read any audio file as a clip. Raises `BadMedia` if it cannot be decoded or contains no speech."""
    pcm = decode(path)
    spans = utterances(pcm)
    if not spans:
        raise BadMedia(f"{path}: no speech found")
    return Clip(path.name, pcm, spans, references.get(path.name))


def decode(path: Path) -> bytes:
    """Return the whole file as 16 kHz mono int16. Raises `BadMedia`."""
    pcm = bytearray()
    try:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            for frame in container.decode(audio=0):
                for part in resampler.resample(frame):
                    pcm += part.to_ndarray().tobytes()
            for part in resampler.resample(None):
                pcm += part.to_ndarray().tobytes()
    except (FFmpegError, OSError, IndexError) as error:
        raise BadMedia(f"{path}: {error}") from error
    return bytes(pcm)


def read_references(path: Path) -> dict[str, str]:
    """Return texts by file name, from tab-separated values with the columns `file` and `text`. Raises `CallerError`."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            return {row["file"]: row["text"] for row in rows if row["text"]}
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise CallerError(f"{path}: references need the columns file and text ({error})") from error

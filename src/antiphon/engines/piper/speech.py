"""A voice inside its own process: text to phonemes, phonemes to frames, frames to sound, piece by piece.

The first piece is short, so that it comes soon; the next ones are longer, because each costs a little by itself. None
is so long that more urgent work would wait for it for long. Noise is seeded by the phonemes: a text always sounds the
same.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from piper import PiperVoice as Phonemizer
from piper.config import PhonemeType, PiperConfig

from antiphon.engines.piper.streaming import LAST, Array
from antiphon.engines.piper.vits import TIMING, cut

FIRST_FRAMES = (8, 16)  # what the first pieces of a clause bring; a frame is 12 ms
FRAMES = 32  # each further one
MOST_PHONEMES = 300  # computed at once; a sentence of more is cut between words
_FEW = 4  # frames that are no piece of their own
_FULL = 32767


class Voice:
    """One voice's graphs. `speak` may run in several threads at once."""

    def __init__(self, path: Path, speaker: int, threads: int) -> None:
        """Raises `ValueError` for what is no voice, or has no such speaker."""
        weights = _weights(path)
        settings = json.loads(weights.with_name(weights.name + ".json").read_text(encoding="utf-8"))
        config = PiperConfig.from_dict(settings)
        if config.phoneme_type not in (PhonemeType.ESPEAK, PhonemeType.TEXT):
            raise ValueError(f"voices with phonemes of the type {config.phoneme_type} are not supported")
        if speaker >= max(1, config.num_speakers):
            raise ValueError(f"the voice has {config.num_speakers} speakers, and none has the number {speaker}")
        graphs = cut(weights)
        self.sample_rate: int = config.sample_rate
        self.language = settings.get("language", {}).get("code", config.espeak_voice).replace("_", "-")
        self._config = config
        self._encoder = _session(graphs.encoder, threads)
        self._speaker = _session(graphs.speaker.model, threads)
        self._streamed = graphs.speaker
        self._encoder_inputs = {value.name for value in self._encoder.get_inputs()}
        self._speaker_id = np.array([speaker], np.int64)
        self._phonemizer = Phonemizer(session=self._encoder, config=config)

    def speak(self, text: str, speed: float) -> Iterator[tuple[bytes, bool]]:
        """Pieces of sound, and whether each is the last one. Every `next` is a step of bounded work."""
        spoken = text.replace("\0", " ").replace("[[", "[ [")  # brackets would be read as phonemes
        sentences = [part for phonemes in self._phonemizer.phonemize(spoken) for part in _parts(phonemes)]
        sequences = [self._phonemizer.phonemes_to_ids(phonemes) for phonemes in sentences]
        for i, sequence in enumerate(sequences):
            for pcm, last in self._sentence(sequence, speed, FIRST_FRAMES if i == 0 else ()):
                yield pcm, last and i == len(sequences) - 1
        if not sequences:
            yield b"", True

    def _sentence(self, phonemes: list[int], speed: float, first: Sequence[int]) -> Iterator[tuple[bytes, bool]]:
        random = np.random.default_rng(zlib.crc32(np.array(phonemes, np.int32).tobytes()))
        means, deviations = self._encode(phonemes, speed, random)
        streamed, total = self._streamed, means.shape[2]
        fixed = {"sid": self._speaker_id} if "sid" in streamed.inputs else {}
        states = streamed.states
        ahead = -(-streamed.lag // streamed.hop)
        sizes = [*first, FRAMES]
        sizes[0] += ahead
        done, step = 0, 0
        while done < total:
            until = _end(done + sizes[min(step, len(sizes) - 1)], total)
            shape = (until - done, means.shape[1])  # frame by frame, so that it is the same however it is cut
            noise = random.standard_normal(shape, np.float32).T[None]
            frames = means[:, :, done:until] + noise * deviations[:, :, done:until] * self._config.noise_scale
            last = until == total
            given = {streamed.source: frames, LAST: np.array([last], np.int64), **fixed, **states}
            sound, *after = self._speaker.run(None, given)
            states = dict(zip(streamed.states, after, strict=True))
            done, step = until, step + 1
            yield _pcm(sound), last

    def _encode(self, phonemes: list[int], speed: float, random: np.random.Generator) -> tuple[Array, Array]:
        config = self._config
        given = {
            "input": np.array([phonemes], np.int64),
            "input_lengths": np.array([len(phonemes)], np.int64),
            "scales": np.array([config.noise_scale, config.length_scale / speed, config.noise_w_scale], np.float32),
            "sid": self._speaker_id,
            TIMING: random.standard_normal((1, 2, len(phonemes)), np.float32),
        }
        wanted = {name: value for name, value in given.items() if name in self._encoder_inputs}
        means, deviations = self._encoder.run(None, wanted)
        return means, deviations


def _weights(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        raise ValueError(f"the folder has {len(found)} files that end in .onnx, not one")
    return found[0]


def _session(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Several threads that wait for each other's spinning would starve the rest of the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _parts(phonemes: list[str]) -> Iterator[list[str]]:
    """Of at most `MOST_PHONEMES` each, cut after a space where there is one."""
    while len(phonemes) > MOST_PHONEMES:
        spaces = [i for i in range(1, MOST_PHONEMES) if phonemes[i] == " "]
        end = spaces[-1] + 1 if spaces else MOST_PHONEMES
        yield phonemes[:end]
        phonemes = phonemes[end:]
    if any(not phoneme.isspace() for phoneme in phonemes):
        yield phonemes


def _end(wanted: int, total: int) -> int:
    """Where a piece ends. The last one also brings all that lags, so it takes little else."""
    if wanted >= total:
        return total
    return total if total - wanted <= _FEW else wanted


def _pcm(sound: Array) -> bytes:
    return (np.clip(sound.reshape(-1), -1, 1) * _FULL).astype("<i2").tobytes()

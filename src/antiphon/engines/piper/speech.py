"""A voice in its own process: text to phonemes, phonemes to frames, frames to sound, piece by piece.

The first piece is short, so that it comes soon; the next ones are longer, because windows overlap. No piece is so long
that it delays more urgent work much. Noise is seeded by the phonemes: a text always sounds the same.
"""

import json
import threading
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
from piper.config import PhonemeType, PiperConfig
from piper.phoneme_ids import phonemes_to_ids
from piper.tashkeel import TashkeelDiacritizer

from antiphon.engines.espeak.phonemizer import Phonemizer
from antiphon.engines.piper import vits
from antiphon.engines.piper.streaming import LAST, Array, Streamed
from antiphon.engines.piper.vocoder import FRAMES, Vocoder

WINDOWS = (24, 64, 96)  # of a sentence's first, second and further pieces; frames, 12 ms each
BLOCK = 32  # sequences are padded to a multiple of so many phonemes
USUAL_LENGTH = 256  # lengths up to this are prepared at the start
MOST_PHONEMES = 300  # computed at once; a sentence of more is cut between words
_FULL = 32767
_VOWELS_MISSING = 0.8  # of the letters of an Arabic text: then they are inserted, as in piper-tts

Sound = Iterator[tuple[bytes, bool]]


class Voice:
    """The graphs of one voice. `speak` may run in `workers` threads at once."""

    def __init__(self, path: Path, speaker: int, workers: int, threads: int) -> None:
        """Load the voice. Raises `ValueError` if it is not one, or has no such speaker."""
        weights = _weights(path)
        settings = json.loads(weights.with_name(weights.name + ".json").read_text(encoding="utf-8"))
        config = PiperConfig.from_dict(settings)
        if config.phoneme_type not in (PhonemeType.ESPEAK, PhonemeType.TEXT):
            raise ValueError(f"voices with phoneme type {config.phoneme_type} are not supported")
        if speaker >= max(1, config.num_speakers):
            raise ValueError(f"speaker {speaker} not found; the voice has {config.num_speakers} speakers")
        self._phonemes = _Phonemes(config, workers)
        parts = vits.cut(weights)
        self.sample_rate: int = config.sample_rate
        self.language = settings.get("language", {}).get("code", config.espeak_voice).replace("_", "-")
        self._config = config
        self._speaker = {"sid": np.array([speaker], np.int64)}
        engine = _Engine(workers, threads)
        self._reader = _Reader(parts.reader, engine)
        self._read = parts.read
        self._pacer = _session(parts.pacer, threads)
        self._pacer_inputs = {value.name for value in self._pacer.get_inputs()}
        self._flow = _Flow(parts.flow, threads, self._speaker)
        self._vocoder = _Vocoder(parts.vocoder, engine, self._speaker)

    def speak(self, text: str, speed: float) -> Sound:
        """Yield pieces of sound, and whether each is the last one. Every `next` is a step of bounded work, and may
        raise `Unspeakable`.
        """
        spoken = text.replace("\0", " ").replace("[[", "[ [")  # brackets would be read as phonemes
        sentences = [part for phonemes in self._phonemes.read(spoken) for part in _parts(phonemes)]
        if not sentences:
            yield b"", True
        for i, phonemes in enumerate(sentences):
            numbers = phonemes_to_ids(phonemes, self._config.phoneme_id_map)
            for pcm, last in self._sentence(numbers, speed):
                yield pcm, last and i == len(sentences) - 1

    def prepare(self) -> None:
        """Prepare for the next texts, while nobody waits for sound."""
        self._phonemes.prepare()

    def _sentence(self, phonemes: list[int], speed: float) -> Sound:
        random = np.random.default_rng(zlib.crc32(np.array(phonemes, np.int32).tobytes()))
        means, deviations = self._encode(phonemes, speed, random)
        total, halo = means.shape[2], self._vocoder.halo
        frames = self._flow.frames(means, deviations * self._config.noise_scale, random)
        sent = 0
        for step in range(total):
            start = max(0, sent - halo)
            end = start + WINDOWS[min(step, len(WINDOWS) - 1)]
            # Beyond the end, the last frame is repeated: it is silent by then.
            until = total if end - halo >= total else end - halo
            yield self._vocoder.sound(frames.between(start, end), sent - start, until - start), until == total
            sent = until
            if sent == total:
                return

    def _encode(self, phonemes: list[int], speed: float, random: np.random.Generator) -> tuple[Array, Array]:
        config = self._config
        feeds = {
            "input": np.array([phonemes], np.int64),
            "input_lengths": np.array([len(phonemes)], np.int64),
            "scales": np.array([config.noise_scale, config.length_scale, config.noise_w_scale], np.float32),
            self._read: self._reader.read(phonemes),
            vits.TIMING: random.standard_normal((1, 2, len(phonemes)), np.float32),
            vits.PACE: np.array([1 / speed], np.float32),
            **self._speaker,
        }
        wanted = {name: value for name, value in feeds.items() if name in self._pacer_inputs}
        means, deviations = self._pacer.run(None, wanted)
        return means, deviations


class _Phonemes:
    """Turns text into a voice's own phonemes."""

    def __init__(self, config: PiperConfig, workers: int) -> None:
        self._espeak: Phonemizer | None = None
        self._vowels: TashkeelDiacritizer | None = None
        if config.phoneme_type != PhonemeType.ESPEAK:
            return
        known, clusters = config.phoneme_id_map, config.vowel_clusters or ()
        self._espeak = Phonemizer(config.espeak_voice, known, clusters, spare=workers)
        if config.espeak_voice == "ar":
            self._vowels = TashkeelDiacritizer()

    def read(self, text: str) -> list[list[str]]:
        """Return the phonemes of each sentence. Raises `Unspeakable`."""
        if self._espeak is None:  # its phonemes are letters
            return [list(unicodedata.normalize("NFD", text))]
        if self._vowels is not None:
            text = self._vowels(text, taskeen_threshold=_VOWELS_MISSING)
        return self._espeak.read(text)

    def prepare(self) -> None:
        if self._espeak is not None:
            self._espeak.prepare()


class _Engine:
    """Compiles graphs with OpenVINO. It computes in bfloat16 if the processor can: twice as fast, without audible
    difference.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self._core = openvino.Core()
        self._settings = {"NUM_STREAMS": workers, "INFERENCE_NUM_THREADS": workers * threads}

    def load(self, graph: bytes, shape: dict[str, list[int]] | None = None) -> "_Loaded":
        """Compile a graph; with a `shape`, only for inputs of that shape."""
        model = self._core.read_model(graph)
        if shape:
            model.reshape(shape)
        return _Loaded(self._core.compile_model(model, "CPU", self._settings))


class _Loaded:
    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._own = threading.local()  # an inference request serves one thread

    def run(self, inputs: dict[str, Any]) -> Array:
        """Return the only output, valid until the thread's next run."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        self._own.request.infer(inputs)
        output: Array = self._own.request.get_output_tensor().data
        return output


class _Reader:
    """Runs the reader. Sequences are padded to whole blocks, because a new length takes longer."""

    def __init__(self, reader: bytes, engine: _Engine) -> None:
        self._model = engine.load(reader)
        for length in range(BLOCK, USUAL_LENGTH + 1, BLOCK):
            self.read([0] * length)

    def read(self, phonemes: list[int]) -> Array:
        padded = np.zeros((1, -(-len(phonemes) // BLOCK) * BLOCK), np.int64)
        padded[0, : len(phonemes)] = phonemes
        feeds = {"input": padded, "input_lengths": np.array([len(phonemes)], np.int64)}
        return np.ascontiguousarray(self._model.run(feeds)[:, :, : len(phonemes)])


class _Flow:
    def __init__(self, flow: Streamed, threads: int, speaker: dict[str, Any]) -> None:
        self._flow = flow
        self._session = _session(flow.model, threads)
        self._fixed = {name: speaker[name] for name in flow.inputs}

    def frames(self, means: Array, deviations: Array, random: np.random.Generator) -> "_Frames":
        return _Frames(self, means, deviations, random)

    @property
    def first(self) -> dict[str, Array]:
        return self._flow.states

    @property
    def lag(self) -> int:
        return self._flow.lag

    def run(self, source: Array, last: bool, states: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        feeds = {self._flow.source: source, LAST: np.array([last], np.int64), **self._fixed, **states}
        result, *after = self._session.run(None, feeds)
        return result, dict(zip(states, after, strict=True))


class _Frames:
    """The frames of one sentence, computed as far as needed."""

    def __init__(self, flow: _Flow, means: Array, deviations: Array, random: np.random.Generator) -> None:
        self._flow = flow
        self._means = means
        self._deviations = deviations
        self._random = random
        self._states = flow.first
        self._source_end = 0
        self._kept: Array = means[:, :, :0]

    def between(self, start: int, end: int) -> Array:
        """Return frames; beyond the last, that one repeated. Frames before `start` cannot be requested again."""
        total = self._means.shape[2]
        until = min(end + self._flow.lag, total)
        if until > self._source_end:
            part = slice(self._source_end, until)
            shape = (until - self._source_end, self._means.shape[1])  # frame by frame: the same however it is cut
            noise = self._random.standard_normal(shape, np.float32).T[None]
            source = self._means[:, :, part] + noise * self._deviations[:, :, part]
            more, self._states = self._flow.run(source, until == total, self._states)
            self._kept = np.concatenate((self._kept, more), axis=2)
            self._source_end = until
        wanted = self._kept[:, :, start:end]
        return np.pad(wanted, ((0, 0), (0, 0), (0, end - start - wanted.shape[2])), mode="edge")


class _Vocoder:
    def __init__(self, vocoder: Vocoder, engine: _Engine, speaker: dict[str, Any]) -> None:
        self.halo = vocoder.halo
        self._hop = vocoder.hop
        self._fixed = {name: speaker[name] for name in vocoder.inputs}
        self._models = {size: engine.load(vocoder.model, {FRAMES: [1, vocoder.channels, 1, size]}) for size in WINDOWS}

    def sound(self, frames: Array, start: int, end: int) -> bytes:
        """Return the 16-bit sound of the frames from `start` to `end`; all `frames` are a window."""
        sound = self._models[frames.shape[2]].run({FRAMES: frames[:, :, None], **self._fixed}).reshape(-1)
        part = np.clip(sound[start * self._hop : end * self._hop], -1, 1)
        return (part * _FULL).astype("<i2").tobytes()


def _weights(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        raise ValueError(f"the folder must have exactly one .onnx file, but has {len(found)}")
    return found[0]


def _session(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Several threads that wait for each other by spinning would starve the rest of the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _parts(phonemes: list[str]) -> Iterator[list[str]]:
    """Yield parts of at most `MOST_PHONEMES` each, cut after a space if there is one."""
    while len(phonemes) > MOST_PHONEMES:
        spaces = [i for i in range(1, MOST_PHONEMES) if phonemes[i] == " "]
        end = spaces[-1] + 1 if spaces else MOST_PHONEMES
        yield phonemes[:end]
        phonemes = phonemes[end:]
    if any(not phoneme.isspace() for phoneme in phonemes):
        yield phonemes

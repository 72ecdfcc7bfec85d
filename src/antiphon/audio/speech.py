"""Speech in samples: pauses as long as requested, and the same loudness for every voice.

A voice puts silence of its own before and after its speech. That is removed, and the pause between two clauses counts
from the last sound of one to the first of the next. Each voice has one gain, found once from its own speech and kept,
so that loudness does not change between clauses; what would then be too loud is compressed, and never clipped.

Samples are 16-bit little-endian, one channel.
"""

import math

import numpy as np
from numpy.typing import NDArray

from antiphon.core.audio import BYTES_PER_SAMPLE

TARGET_LUFS = -18.0
LEAD_MS, TAIL_MS = 10, 20  # of the voice's own silence, kept around sound: soft beginnings and ends
_SOUND = 64  # a sample beyond this is sound: 54 dB below full scale, so 36 dB below the speech
_KNEE, _CEILING = 23_000.0, 31_600.0  # 3 dB and 0.3 dB below full scale

Samples = NDArray[np.int16]


def silence(ms: int, rate: int) -> bytes:
    return bytes(_samples(ms, rate) * BYTES_PER_SAMPLE)


class ClauseShaper:
    """The output of one clause. Silence at its beginning is dropped, silence within is held back until the next
    sound.
    """

    def __init__(self, rate: int, gain: float = 1.0) -> None:
        """Begin a clause. `rate` is in Hz; `gain` multiplies samples, see `gain_for`."""
        self._rate, self._gain = rate, gain
        self._lead, self._tail = _samples(LEAD_MS, rate), _samples(TAIL_MS, rate)
        self._held: Samples = np.zeros(self._lead, np.int16)
        self._begun = False

    @property
    def begun(self) -> bool:
        """Whether there has been any sound."""
        return self._begun

    def push(self, pcm: bytes) -> bytes:
        """Return the sound that is complete after these samples; may be empty."""
        new = _bent(np.frombuffer(pcm, "<i2").astype(np.float32) * self._gain)
        sounds = np.flatnonzero(np.abs(new) > _SOUND)
        held = np.concatenate((self._held, new))
        if not len(sounds):
            self._held = held if self._begun else held[len(new) :]
            return b""
        end = len(self._held) + int(sounds[-1]) + 1
        self._held = held[end:]
        out = held[:end]
        if not self._begun:
            self._begun = True
            out = _faded(out[int(sounds[0]) :], self._lead)
        return out.tobytes()

    def finish(self, pause_ms: int) -> bytes:
        """Return the end of the clause, and silence so that `pause_ms` lie between its last sound and the next clause's
        first (but never less than is kept around both). Nothing may be pushed afterwards.
        """
        if not self._begun:
            return silence(pause_ms, self._rate)
        end = np.zeros(max(_samples(pause_ms, self._rate) - self._lead, self._tail), np.int16)
        kept = self._held[: self._tail]
        end[: len(kept)] = kept
        return _faded(end[: self._tail][::-1], self._tail)[::-1].tobytes() + end[self._tail :].tobytes()


def gain_for(pcm: bytes, rate: int) -> float:
    """Return the gain that brings a voice to `TARGET_LUFS`, from a few sentences of it. 1 if there is no speech."""
    loudness = loudness_lufs(pcm, rate)
    return 1.0 if loudness == -math.inf else float(10 ** ((TARGET_LUFS - loudness) / 20))


def loudness_lufs(pcm: bytes, rate: int) -> float:
    """Return the integrated loudness of one channel: ITU-R BS.1770-5, annex 1. Minus infinity for silence, or under 400
    ms.

    The standard defines its filters for 48 kHz; here their frequency response weights a spectrum, at any rate.
    """
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32_768
    block, step = rate * 400 // 1000, rate * 100 // 1000
    if len(samples) < block:
        return -math.inf
    size = len(samples) + rate  # so that nothing wraps around
    spectrum = np.fft.rfft(samples, size)
    weighted = np.fft.irfft(spectrum * _k_weighting(np.fft.rfftfreq(size, 1 / rate)), size)[: len(samples)]
    energy = np.concatenate(([0.0], np.cumsum(weighted**2)))
    starts = np.arange(0, len(samples) - block + 1, step)
    powers = (energy[starts + block] - energy[starts]) / block
    powers = powers[powers > 10 ** ((-70 + 0.691) / 10)]
    if not len(powers):
        return -math.inf
    powers = powers[powers > np.mean(powers) / 10]
    return float(-0.691 + 10 * np.log10(np.mean(powers)))


def _k_weighting(hertz: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the magnitude response of both stages: BS.1770-5, annex 1, tables 1 and 2."""
    z = np.exp(-2j * np.pi * hertz / 48_000)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high_pass = (1 - z) ** 2 / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    weights: NDArray[np.float64] = np.abs(shelf * high_pass)
    return weights


def _samples(ms: int, rate: int) -> int:
    return ms * rate // 1000


def _faded(samples: Samples, length: int) -> Samples:
    """Fade in over the first `length` samples."""
    faded = samples.copy()
    faded[:length] = np.rint(samples[:length] * np.arange(length) / length)
    return faded


def _bent(samples: NDArray[np.float32]) -> Samples:
    """Compress: linear up to the knee, then ever flatter towards the ceiling."""
    sizes = np.abs(samples)
    if len(samples) and float(np.max(sizes)) > _KNEE:
        room = _CEILING - _KNEE
        bent = _KNEE + room * np.tanh((sizes - _KNEE) / room)
        samples = np.where(sizes > _KNEE, np.copysign(bent, samples), samples)
    return np.rint(samples).astype(np.int16)

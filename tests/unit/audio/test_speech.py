"""Pauses to the sample, whatever silence the voice adds and however the pieces fall; loudness by the standard."""

import math

import numpy as np
import pytest

from antiphon.audio.speech import LEAD_MS, TAIL_MS, TARGET_LUFS, ClauseShaper, gain_for, loudness_lufs, silence

RATE = 22_050
LEAD, TAIL = RATE * LEAD_MS // 1000, RATE * TAIL_MS // 1000


def tone(seconds: float, peak: float, *, hertz: float = 997.0, rate: int = RATE) -> np.ndarray:
    """It begins and ends with a sound, not at zero."""
    wave = np.cos(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    wave[-1] = 1
    return np.rint(peak * wave).astype(np.int16)


def hush(samples: int) -> np.ndarray:
    """Silence as voices make it, not quite zero."""
    return np.random.default_rng(samples).integers(-20, 21, samples).astype(np.int16)


def clause(before: int, sound: np.ndarray, after: int) -> bytes:
    return np.concatenate((hush(before), sound, hush(after))).tobytes()


def shaped(pcm: bytes, piece: int, pause_ms: int, gain: float = 1.0) -> np.ndarray:
    shaper = ClauseShaper(RATE, gain)
    parts = [shaper.push(pcm[start : start + 2 * piece]) for start in range(0, len(pcm), 2 * piece)]
    return np.frombuffer(b"".join([*parts, shaper.finish(pause_ms)]), np.int16)


@pytest.mark.parametrize("piece", [1, 97, 2_205, 100_000])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (5, 7), (LEAD, TAIL), (9_000, 12_000)])
def test_a_pause_is_as_long_as_was_asked(piece, before, after):
    sound = tone(0.1, 9_000)
    out = shaped(clause(before, sound, after), piece, 250)
    again = shaped(clause(after, sound, before), piece, 0)
    both = np.concatenate((out, again))
    first, second = np.flatnonzero(np.all(np.lib.stride_tricks.sliding_window_view(both, 500) == sound[:500], axis=1))
    assert first == LEAD
    assert second - first - len(sound) == RATE * 250 // 1000
    assert np.array_equal(both[first : first + len(sound)], sound)
    assert len(again) == LEAD + len(sound) + TAIL


def test_no_pause_is_shorter_than_what_is_kept_of_a_voice():
    sound = tone(0.1, 9_000)
    assert len(shaped(clause(500, sound, 500), 441, 1)) == LEAD + len(sound) + TAIL
    assert len(shaped(clause(500, sound, 500), 441, 40)) == len(sound) + RATE * 40 // 1000


def test_silence_within_a_clause_stays():
    sound = np.concatenate((tone(0.05, 9_000), hush(20_000), tone(0.05, 9_000)))
    out = shaped(clause(3_000, sound, 3_000), 441, 0)
    assert np.array_equal(out[LEAD : LEAD + len(sound)], sound)


def test_sound_leaves_with_the_piece_that_brings_it():
    shaper, sound = ClauseShaper(RATE), tone(0.1, 9_000)
    assert shaper.push(hush(30_000).tobytes()) == b""
    assert len(shaper.push(sound.tobytes())) == 2 * (LEAD + len(sound))
    assert shaper.push(hush(1_000).tobytes()) == b""
    assert len(shaper.push(sound.tobytes())) == 2 * (1_000 + len(sound))


def test_a_soft_ending_is_kept():
    soft = np.full(TAIL, 50, np.int16)
    out = shaped(clause(0, np.concatenate((tone(0.1, 9_000), soft)), 500), 441, 0)
    assert np.array_equal(out[-TAIL:], np.rint(soft * np.arange(TAIL - 1, -1, -1) / TAIL))


def test_a_clause_without_sound_is_its_pause():
    assert ClauseShaper(RATE).finish(100) == silence(100, RATE) == bytes(2 * 2_205)
    assert not shaped(hush(10_000).tobytes(), 441, 100).any()
    assert len(shaped(hush(10_000).tobytes(), 441, 100)) == 2_205


def test_cuts_fade():
    out = shaped(clause(4_000, tone(0.1, 9_000), 4_000), 441, 0)
    assert out[0] == out[-1] == 0
    assert np.max(np.abs(out[:40])) <= 20 * 40 / LEAD + 1


@pytest.mark.parametrize("gain", [1.0, 2.0, 8.0])
def test_nothing_clips_and_louder_stays_louder(gain):
    ramp = np.linspace(0, 32_767, 20_000).astype(np.int16)
    out = shaped(ramp.tobytes(), 441, 0, gain).astype(int)
    assert np.max(np.abs(out)) <= 31_600
    assert np.all(np.diff(out[LEAD : LEAD + 10_000]) >= 0)
    assert shaped((-ramp).tobytes(), 441, 0, gain).tolist() == (-out).tolist()


def test_what_is_not_too_loud_is_only_multiplied():
    sound = tone(0.1, 9_000)
    assert np.array_equal(shaped(sound.tobytes(), 441, 0, 2.0)[LEAD : LEAD + len(sound)], 2 * sound)


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_loudness_is_the_standards(rate):
    """BS.1770-5, annex 1: a sine of 997 Hz at full scale in one channel is -3.01 LKFS."""
    assert loudness_lufs(tone(2, 32_767, rate=rate).tobytes(), rate) == pytest.approx(-3.01, abs=0.02)
    assert loudness_lufs(tone(2, 3_276.7, rate=rate).tobytes(), rate) == pytest.approx(-23.01, abs=0.02)


def test_pauses_do_not_make_it_softer_and_low_tones_count_less():
    sound = tone(2, 8_000)
    rests = np.concatenate((sound, hush(6 * RATE), sound))
    assert loudness_lufs(rests.tobytes(), RATE) == pytest.approx(loudness_lufs(sound.tobytes(), RATE), abs=0.5)
    assert loudness_lufs(tone(2, 8_000, hertz=50).tobytes(), RATE) < loudness_lufs(sound.tobytes(), RATE) - 3


def test_a_voices_gain_brings_it_to_the_target():
    pcm = tone(3, 700).tobytes()
    gain = gain_for(pcm, RATE)
    assert gain > 3
    assert loudness_lufs(shaped(pcm, 441, 0, gain).tobytes(), RATE) == pytest.approx(TARGET_LUFS, abs=0.05)


@pytest.mark.parametrize("pcm", [b"", bytes(2 * RATE), tone(0.3, 9_000).tobytes()])
def test_what_is_no_speech_has_no_gain(pcm):
    assert loudness_lufs(pcm, RATE) == -math.inf
    assert gain_for(pcm, RATE) == 1

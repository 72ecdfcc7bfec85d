"""A tone keeps its shape, its length and its channel; the filter holds back little."""

import itertools
import math
import random
from array import array

import pytest

from antiphon.audio.resample import Resampler, check_shape
from antiphon.core.errors import BadMedia


def tone(rate: int, seconds: float, hertz: float = 440.0, peak: int = 12_000) -> bytes:
    return array(
        "h", (round(peak * math.sin(2 * math.pi * hertz * i / rate)) for i in range(int(rate * seconds)))
    ).tobytes()


def _noise_db(got: bytes, wanted: bytes) -> float:
    ours, ideal = array("h", got), array("h", wanted)
    middle = range(200, min(len(ours), len(ideal)) - 200)
    error = sum((ours[i] - ideal[i]) ** 2 for i in middle)
    return 10 * math.log10(sum(ideal[i] ** 2 for i in middle) / error)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_a_tone_in_small_pieces(rate: int) -> None:
    data = tone(rate, 1.0)
    resampler = Resampler(sample_format="s16", layout="1c", rate=rate, channels=1, split=False)
    piece = rate // 50 * 2
    out = bytearray()
    for start in range(0, len(data), piece):
        out += resampler.push_bytes(data[start : start + piece])[0]
    held_back_ms = 1000 - len(out) / 32
    out += resampler.finish()[0]
    assert held_back_ms <= 2.5
    assert len(out) == 32_000
    assert _noise_db(bytes(out), tone(16_000, 1.0)) > 60


def test_what_16_khz_cannot_carry_is_filtered_out() -> None:
    resampler = Resampler(sample_format="s16", layout="1c", rate=48_000, channels=1, split=False)
    out = array("h", resampler.push_bytes(tone(48_000, 0.5, hertz=12_000))[0])
    assert max(map(abs, out[200:])) < 120  # 40 dB down


def _interleave(left: bytes, right: bytes) -> bytes:
    both = array("h", bytes(2 * len(left)))
    both[0::2], both[1::2] = array("h", left), array("h", right)
    return both.tobytes()


def _mixed(data: bytes, channels: int, layout: str = "", rate: int = 16_000, piece: int = 10**9) -> bytes:
    """The whole, pushed in pieces of so many frames."""
    layout = layout or f"{channels}c"
    mixing = Resampler(sample_format="s16", layout=layout, rate=rate, channels=channels, split=False)
    size = 2 * channels * piece
    parts = [mixing.push_bytes(data[at : at + size])[0] for at in range(0, len(data), size)]
    return b"".join((*parts, *mixing.finish()))


def test_channels_apart_and_together() -> None:
    left, right = tone(16_000, 0.2), tone(16_000, 0.2, hertz=1000)
    both = _interleave(left, right)
    apart = Resampler(sample_format="s16", layout="2c", rate=16_000, channels=2, split=True)
    assert apart.push_bytes(both) == [left, right]
    mixed = _mixed(both, 2)
    mean = [(a + b) / 2 for a, b in zip(array("h", left), array("h", right), strict=True)]
    assert max(abs(a - b) for a, b in zip(array("h", mixed), mean, strict=True)) <= 1


@pytest.mark.parametrize("channels", range(3, 9))
def test_up_to_eight_channels(channels: int) -> None:
    frame = array("h", (1000 * (index + 1) for index in range(channels)))
    resampler = Resampler(sample_format="s16", layout=f"{channels}c", rate=16_000, channels=channels, split=True)
    parts = resampler.push_bytes(frame.tobytes() * 100)
    assert [set(array("h", part)) for part in parts] == [{1000 * (index + 1)} for index in range(channels)]
    mono = _mixed(array("h", [5000] * channels).tobytes() * 100, channels)
    assert set(array("h", mono)) == {5000}


def test_floats_are_clipped() -> None:
    resampler = Resampler(sample_format="flt", layout="1c", rate=16_000, channels=1, split=False)
    data = array("f", [0.0, 0.5, -1.0, 2.0, -7.0]).tobytes()
    assert array("h", resampler.push_bytes(data)[0]).tolist() == [0, 16384, -32768, 32767, -32768]


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (3_999, 1), (1_092_676, 1), (16_000, 0), (16_000, 9)])
def test_dishonest_shapes(rate: int, channels: int) -> None:
    with pytest.raises(BadMedia):
        check_shape(rate, channels)


# -- channels that take each other away --------------------------------------------------------------------------------


def _of(*channels: list[int]) -> bytes:
    """Their frames."""
    return array("h", (sample for frame in zip(*channels, strict=True) for sample in frame)).tobytes()


def _voice(seconds: float, seed: int = 1, peak: float = 9000.0) -> list[int]:
    """Noise in syllables of 200 ms, with pauses of 100 ms."""
    drawn = random.Random(seed)
    return [round(drawn.gauss(0, peak / 3) * (n % 4800 < 3200)) for n in range(int(16_000 * seconds))]


def _negated(samples: list[int], gain: float = 1.0) -> list[int]:
    return [-round(gain * sample) for sample in samples]


def _level_db(got: bytes, wanted: list[int]) -> float:
    """How much of the energy there is."""
    return 10 * math.log10((sum(s * s for s in array("h", got)) or 1) / sum(s * s for s in wanted))


@pytest.mark.parametrize("gain", [1.0, 0.9, 1.1])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("piece", [10**9, 320, 77])
def test_a_mix_of_channels_that_cancel_each_other_out_is_heard(gain: float, channels: int, piece: int) -> None:
    voice = _voice(3)
    mixed = _mixed(_of(*[voice, _negated(voice, gain)] * (channels // 2)), channels, piece=piece)
    assert len(mixed) == 2 * len(voice)
    assert abs(_level_db(mixed, voice)) < 1.5


def test_a_mix_does_not_depend_on_how_it_was_parted() -> None:
    voice = _voice(2)
    data = _of(voice, _negated(voice))
    assert _mixed(data, 2) == _mixed(data, 2, piece=1) == _mixed(data, 2, piece=441)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_channels_of_another_rate_that_cancel_each_other_out_are_heard(rate: int) -> None:
    left = array("h", tone(rate, 1.0)).tolist()
    mixed = _mixed(_of(left, _negated(left)), 2, layout="stereo", rate=rate, piece=rate // 50)
    assert len(mixed) == 32_000
    assert (
        _noise_db(mixed, array("h", tone(16_000, 1.0)).tobytes()) > 60
        or _noise_db(mixed, array("h", _negated(array("h", tone(16_000, 1.0)).tolist())).tobytes()) > 60
    )


@pytest.mark.parametrize("quieter_db", [0, 20, 40])
def test_channels_that_have_nothing_to_do_with_each_other_are_mixed_as_ever(quieter_db: int) -> None:
    """One after the other, and both at once; a quiet one beside a loud one keeps its part."""
    loud, quiet = _voice(3), _voice(3, seed=2, peak=9000 / 10 ** (quieter_db / 20))
    nobody = [0] * len(loud)
    for left, right in ((loud, quiet), (loud + nobody, nobody + quiet), (loud, nobody), (loud, loud)):
        mixed = array("h", _mixed(_of(left, right), 2))
        assert max(abs(m - (a + b) / 2) for m, a, b in zip(mixed, left, right, strict=True)) <= 1


@pytest.mark.parametrize("channel", range(6))
@pytest.mark.parametrize("layout", ["6c", "6 channels"])
def test_no_channel_of_several_is_left_out_of_a_mix(channel: int, layout: str) -> None:
    """Where nothing says what each of them is."""
    voice = _voice(1)
    channels = [voice if n == channel else [0] * len(voice) for n in range(6)]
    assert _level_db(_mixed(_of(*channels), 6, layout=layout), voice) == pytest.approx(-15.6, abs=0.3)


def test_low_frequencies_of_a_film_do_not_take_the_place_of_its_dialogue() -> None:
    voice = _voice(2, peak=300)
    boom = [round(20_000 * math.sin(n / 50)) for n in range(len(voice))]
    nobody = [0] * len(voice)
    data = _of(nobody, nobody, voice, boom, nobody, nobody)
    assert _level_db(_mixed(data, 6, layout="5.1"), voice) == pytest.approx(-10.7, abs=0.5)


def test_a_stream_goes_from_mix_to_channel_and_back_without_a_click() -> None:
    """A tone that turns over on one side in its middle, and back; no step is larger than the tone's own."""
    left = array("h", tone(16_000, 6.0)).tolist()
    turned = [(-1 if 32_000 <= n < 64_000 else 1) * sample for n, sample in enumerate(left)]
    mixed = array("h", _mixed(_of(left, turned), 2, piece=320))
    steepest = max(abs(b - a) for a, b in itertools.pairwise(left))
    assert max(abs(b - a) for a, b in itertools.pairwise(mixed)) < 1.5 * steepest
    for begin in (0, 34_400, 72_000):
        part = mixed[begin : begin + 20_000]
        assert abs(_level_db(part.tobytes(), left[begin : begin + 20_000])) < 0.5


def test_the_voices_of_a_call_with_one_side_turned_over_are_both_heard() -> None:
    """One on both sides, the other against itself: each in its turn."""
    first, second = _voice(2), _voice(2, seed=3)
    mixed = _mixed(_of(first + second, first + _negated(second)), 2, piece=320)
    half = len(mixed) // 2
    assert abs(_level_db(mixed[:half], first)) < 0.5
    assert abs(_level_db(mixed[half:], second)) < 1.5

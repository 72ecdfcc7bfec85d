"""A tone keeps its shape, its length and its channel; the filter holds back little."""

import math
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


def test_channels_apart_and_together() -> None:
    left, right = tone(16_000, 0.2), tone(16_000, 0.2, hertz=1000)
    both = _interleave(left, right)
    apart = Resampler(sample_format="s16", layout="2c", rate=16_000, channels=2, split=True)
    assert apart.push_bytes(both) == [left, right]
    (mixed,) = Resampler(sample_format="s16", layout="2c", rate=16_000, channels=2, split=False).push_bytes(both)
    mean = [(a + b) / 2 for a, b in zip(array("h", left), array("h", right), strict=True)]
    assert max(abs(a - b) for a, b in zip(array("h", mixed), mean, strict=True)) <= 1


@pytest.mark.parametrize("channels", range(3, 9))
def test_up_to_eight_channels(channels: int) -> None:
    frame = array("h", (1000 * (index + 1) for index in range(channels)))
    resampler = Resampler(sample_format="s16", layout=f"{channels}c", rate=16_000, channels=channels, split=True)
    parts = resampler.push_bytes(frame.tobytes() * 100)
    assert [set(array("h", part)) for part in parts] == [{1000 * (index + 1)} for index in range(channels)]
    mixed = Resampler(sample_format="s16", layout=f"{channels}c", rate=16_000, channels=channels, split=False)
    (mono,) = mixed.push_bytes(array("h", [5000] * channels).tobytes() * 100)
    assert set(array("h", mono)) == {5000}


def test_floats_are_clipped() -> None:
    resampler = Resampler(sample_format="flt", layout="1c", rate=16_000, channels=1, split=False)
    data = array("f", [0.0, 0.5, -1.0, 2.0, -7.0]).tobytes()
    assert array("h", resampler.push_bytes(data)[0]).tolist() == [0, 16384, -32768, 32767, -32768]


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (3_999, 1), (1_092_676, 1), (16_000, 0), (16_000, 9)])
def test_dishonest_shapes(rate: int, channels: int) -> None:
    with pytest.raises(BadMedia):
        check_shape(rate, channels)

"""Mixing channels down so that none cancels another.

A mix of channels of opposite polarity (a microphone wired the wrong way round, a "wide" effect) is silence. If the mix
is much weaker than its channels, the loudest of them replaces it; else the mix is unchanged, to the bit. With n
independent channels, or only one with sound, the mix has 1/n² of the energy of all; what counts is how far below that
it falls.

Energies decay over 50 ms while the mix is used, so that a cancellation costs no word, and over 300 ms while a channel
is, so that it outlasts the pauses between words. Sources are cross-faded over one block.
"""

from array import array
from math import exp
from operator import mul

from antiphon.core.audio import BYTES_PER_MS

_BLOCK_MS = 10
_BLOCK_BYTES = _BLOCK_MS * BYTES_PER_MS
_STRIDE = 8  # samples; one of so many suffices to measure the energy
_BLOCK_SAMPLES = _BLOCK_BYTES // 2 // _STRIDE  # that are measured
_MIX_KEEPS, _CHANNEL_KEEPS = exp(-_BLOCK_MS / 50), exp(-_BLOCK_MS / 300)  # of the energy, after each block
_CANCELLED, _RESTORED = 0.1, 0.5  # of the mix's expected energy: below, a channel replaces it; above, it returns
_LOUDER = 4  # times the energy that another channel needs to replace one
_MIX = 0


class Mixer:
    """The mix of one stream of 16-bit samples. `channels` is the number of channels; at most 10 ms are held back."""

    def __init__(self, channels: int) -> None:
        self._scale = channels**2
        self._held = [b""] * (channels + 1)
        self._energies = [0.0] * (channels + 1)  # of the mix, then of each channel
        self._source = _MIX

    def push(self, mix: bytes, channels: list[bytes]) -> bytes:
        """Return the output for these samples: their mix and each channel, all equally long."""
        sources = [held + new for held, new in zip(self._held, (mix, *channels), strict=True)]
        whole = len(sources[_MIX]) // _BLOCK_BYTES * _BLOCK_BYTES
        self._held = [source[whole:] for source in sources]
        return self._output([source[:whole] for source in sources])

    def finish(self) -> bytes:
        """Return the rest. Nothing may be pushed afterwards."""
        return self._output(self._held)

    def _output(self, sources: list[bytes]) -> bytes:
        """Return the output, block by block."""
        looked_at = [array("h", source)[::_STRIDE] for source in sources]
        out = []
        for n in range(-(-len(sources[_MIX]) // _BLOCK_BYTES)):
            at = n * _BLOCK_BYTES
            before, self._source = self._source, self._next(looked_at, n)
            block = sources[self._source][at : at + _BLOCK_BYTES]
            faded = before != self._source
            out.append(_faded(sources[before][at : at + _BLOCK_BYTES], block) if faded else block)
        return b"".join(out)

    def _next(self, looked_at: list["array[int]"], n: int) -> int:
        """Return the source of a block."""
        keeps = _CHANNEL_KEEPS if self._source else _MIX_KEEPS
        begin, end = n * _BLOCK_SAMPLES, (n + 1) * _BLOCK_SAMPLES
        for i, samples in enumerate(looked_at):
            block = samples[begin:end]
            self._energies[i] = keeps * self._energies[i] + sum(map(mul, block, block))
        return self._choose()

    def _choose(self) -> int:
        mix, *channels = self._energies
        left = mix * self._scale / (sum(channels) or 1)
        if left >= (_RESTORED if self._source else _CANCELLED):
            return _MIX
        loudest = channels.index(max(channels)) + 1
        if self._source and self._energies[loudest] < _LOUDER * self._energies[self._source]:
            return self._source
        return loudest if any(channels) else _MIX


def _faded(before: bytes, after: bytes) -> bytes:
    """Cross-fade from one to the other."""
    old, new = array("h", before), array("h", after)
    length = max(1, len(new))
    return array("h", (a + (b - a) * n // length for n, (a, b) in enumerate(zip(old, new, strict=True)))).tobytes()

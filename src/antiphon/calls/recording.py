"""A whole recording, before it is recognised: fetched if it is at a URL, decoded, and cut to the requested part."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from antiphon.audio.signatures import begins_packed
from antiphon.audio.wav import begins_wav
from antiphon.calls.services import Services
from antiphon.core.audio import BYTES_PER_MS, Encoding
from antiphon.core.errors import BadMedia, CapacityError
from antiphon.core.identity import Principal
from antiphon.core.specs import TranscribeSpec

if TYPE_CHECKING:
    from antiphon.audio.budget import Hold
    from antiphon.audio.live import LiveDecoder


class Recording:
    """The recording of a call that was opened at `opened_ns`. What is decoded counts as `held`."""

    def __init__(
        self, services: Services, principal: Principal, spec: TranscribeSpec, held: "Hold", opened_ns: int
    ) -> None:
        self._services = services
        self._principal = principal
        self._spec = spec
        self._held = held
        self._opened_ns = opened_ns

    async def fetch(self, url: str) -> bytes:
        """Return the content of a URL. A slow one occupies a place of its own project only."""
        fetching, now_ns = self._services.fetching, self._services.clock.now_ns()
        if not fetching.fits(self._principal):
            wait_s = fetching.retry_after_s(self._principal, now_ns)
            raise CapacityError("Too many recordings are being fetched.", retry_after_s=wait_s)
        place = fetching.hold(self._principal, 1, now_ns)
        try:
            return await self._services.fetcher.fetch(url)
        finally:
            fetching.let_go(place)

    async def channels(self, data: bytes) -> Sequence[memoryview]:
        """Return the requested part of each channel, at 16 kHz and all of one length. Raises `BadMedia` if it is
        empty.
        """
        channels = await self._decode(data)
        begin, until_ms = self._spec.from_ms * BYTES_PER_MS, self._spec.until_ms
        end = None if until_ms is None else until_ms * BYTES_PER_MS
        if begin and begin >= len(channels[0]):
            raise BadMedia(f"The recording is only {len(channels[0]) // BYTES_PER_MS} ms long.")
        return [pcm[begin:end] for pcm in channels]

    async def _decode(self, data: bytes) -> Sequence[memoryview]:
        # A file says itself what it holds, also where an encoding is declared.
        form, multichannel, decoder = self._spec.format, self._spec.multichannel, self._services.decoder
        described = begins_packed(data) or (begins_wav(data) and not multichannel)
        if form.encoding is Encoding.CONTAINER or described:
            who = self._principal
            async with self._services.decoding.place(self._opened_ns, who.project, who.weight):
                decoded = await decoder.decode(data, multichannel=multichannel, hold=self._held)
            return [memoryview(pcm) for pcm in decoded.channels]
        from antiphon.audio.live import most_pcm_bytes

        raw = live_decoder(self._services, self._spec)  # which reports errors in the format
        self._held.take(most_pcm_bytes(len(data), form, multichannel, decoder.limits))
        try:
            return [
                memoryview(most + rest if rest else most)
                for most, rest in zip(await raw.feed(data), await raw.finish(), strict=True)
            ]
        finally:
            raw.close()


def live_decoder(services: Services, spec: TranscribeSpec) -> "LiveDecoder":
    """Return a decoder of audio that comes in pieces."""
    from antiphon.audio.live import LiveDecoder

    return LiveDecoder(services.decoder, spec.format, multichannel=spec.multichannel)

"""What a live stream may go on to hear: reserved from the budgets that apply to it, a stretch ahead of what came."""

from collections.abc import Sequence

from antiphon.calls import demands
from antiphon.calls.input_channel import InputChannel, lengths_ms
from antiphon.core.audio import BYTES_PER_SAMPLE, SAMPLE_RATE
from antiphon.core.errors import BudgetExceeded
from antiphon.metering.allowances import Allowance


class Stretches:
    """The reservations of one stream, whose first stretch its opening reserved. `charges_time` says that also the time
    is charged for which it is open.
    """

    def __init__(self, allowance: Allowance, channels: Sequence[InputChannel], charges_time: bool) -> None:
        self._allowance = allowance
        self._channels = channels
        self._charges_time = charges_time
        self._covered_ms = demands.STRETCH_MS  # of each channel
        self.refusal: BudgetExceeded | None = None  # of the last stretch

    def cover(self, pcm: Sequence[bytes], open_ms: int) -> bool:
        """Return whether these pieces, one per channel, may be heard, `open_ms` after the opening. Reserves a further
        stretch, or what is left of one.
        """
        pieces = zip(self._channels, pcm, strict=True) if pcm else ()
        samples = max((c.arrivals.received + len(piece) // BYTES_PER_SAMPLE for c, piece in pieces), default=0)
        audio_ms = -(-samples * 1000 // SAMPLE_RATE)
        if self._charges_time:
            audio_ms = max(audio_ms, open_ms + demands.CLOSING_MS)
        if audio_ms + demands.STRETCH_MS // 2 <= self._covered_ms:
            return True
        refusal: BudgetExceeded | None = None
        for wanted_ms in (audio_ms + demands.STRETCH_MS, audio_ms):
            if wanted_ms <= self._covered_ms:
                return True
            wanted = demands.audio_meters(wanted_ms, len(self._channels), self._charges_time)
            try:
                self._allowance.cover(wanted, demands.utterances(wanted))
            except BudgetExceeded as error:
                refusal = error
            else:
                self._covered_ms = wanted_ms
                self._allowance.note(lengths_ms(self._channels))
                return True
        self.refusal = refusal
        return False

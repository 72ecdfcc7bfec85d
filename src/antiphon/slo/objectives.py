"""Objectives: an indicator, a threshold, a share. The indicators are defined in `docs/objectives.md`."""

from dataclasses import dataclass
from enum import StrEnum


class Indicator(StrEnum):
    """What is measured, from which moment to which."""

    STT_TTFB = "stt_ttfb"  # first sample of speech arrived -> first non-empty interim sent
    STT_FIRST_WORD = "stt_first_word"  # the same -> first interim that holds the final's first word sent
    STT_FINAL = "stt_final"  # last sample of speech arrived -> final sent


@dataclass(frozen=True, slots=True)
class Objectives:
    """Thresholds in milliseconds, and the share of utterances that shall meet all of them."""

    stt_ttfb_ms: int = 300
    stt_final_ms: int = 800
    goodput: float = 0.99

    def met(self, ttfb_ms: float | None, final_ms: float) -> bool:
        """Whether one utterance was good. `ttfb_ms` is `None` where no interims were asked for."""
        return (ttfb_ms is None or ttfb_ms <= self.stt_ttfb_ms) and final_ms <= self.stt_final_ms

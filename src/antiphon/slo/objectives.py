"""Objectives: the thresholds that a good utterance keeps. The indicators are defined in `docs/objectives.md`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Objectives:
    """Thresholds in milliseconds, for each live utterance."""

    stt_ttfb_ms: int = 300
    stt_final_ms: int = 800

    def met(self, ttfb_ms: float | None, final_ms: float) -> bool:
        """Whether one utterance was good. `ttfb_ms` is `None` where no interims were asked for."""
        return (ttfb_ms is None or ttfb_ms <= self.stt_ttfb_ms) and final_ms <= self.stt_final_ms

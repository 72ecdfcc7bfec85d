"""Objectives: the thresholds of a good utterance, generation or speech. `docs/objectives.md` defines the indicators."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Objectives:
    """Thresholds in milliseconds, for each live utterance, each generation and each speech."""

    stt_ttfb_ms: int = 300
    stt_final_ms: int = 800
    ttft_ms: int = 500
    tpot_ms: int = 15
    llm_total_ms: int = 2000
    tts_ttfb_ms: int = 75

    def met(self, ttfb_ms: float | None, final_ms: float) -> bool:
        """Return whether an utterance was good. `ttfb_ms` is `None` if no interims were requested."""
        return (ttfb_ms is None or ttfb_ms <= self.stt_ttfb_ms) and final_ms <= self.stt_final_ms

    def generation_met(self, ttft_ms: float | None, tpot_ms: float | None, total_ms: float) -> bool:
        """Return whether a generation was good. One that sent nothing is judged by its total time."""
        begun = ttft_ms is None or ttft_ms <= self.ttft_ms
        paced = tpot_ms is None or tpot_ms <= self.tpot_ms
        return begun and paced and total_ms <= self.llm_total_ms

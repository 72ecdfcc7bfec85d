"""The measurement of utterances and generations: from arrival to result. Times in nanoseconds in, milliseconds out."""

from dataclasses import dataclass

from antiphon.core.text import plain
from antiphon.core.units import NS_PER_MS


@dataclass(frozen=True, slots=True)
class Measured:
    """One utterance. `None` if there was nothing to measure: no interims were requested, or the final has no word."""

    ttfb_ms: float | None
    first_word_ms: float | None
    final_ms: float


class UtteranceTimer:
    """Measures one channel: takes each interim when it is sent, and measures at the final."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._first_sent_ns: int | None = None
        self._word = ""
        self._word_sent_ns = 0

    def interim(self, text: str, sent_ns: int) -> None:
        if not text:
            return
        if self._first_sent_ns is None:
            self._first_sent_ns = sent_ns
        word = _first_word(text)
        if word != self._word:
            self._word, self._word_sent_ns = word, sent_ns

    def final(self, text: str, onset_ns: int, spoken_ns: int, sent_ns: int, interims: bool) -> Measured:
        """Return the measurement of an utterance. `interims` says whether any were requested; an utterance without any
        is then measured by its final.
        """
        ttfb_ms = first_word_ms = None
        if interims:
            first_ns = sent_ns if self._first_sent_ns is None else self._first_sent_ns
            ttfb_ms = (first_ns - onset_ns) / NS_PER_MS
            if word := _first_word(text):
                word_ns = self._word_sent_ns if self._word == word else sent_ns
                first_word_ms = (word_ns - onset_ns) / NS_PER_MS
        self._begin()
        return Measured(ttfb_ms, first_word_ms, (sent_ns - spoken_ns) / NS_PER_MS)


@dataclass(frozen=True, slots=True)
class MeasuredTokens:
    """One generation. `ttft_ms` is `None` if nothing was sent; `tpot_ms`, the mean gap between tokens after the first,
    also if there was only one. `total_ms` is until the last token was sent, or the end without any.
    """

    ttft_ms: float | None
    tpot_ms: float | None
    total_ms: float


class TokenTimer:
    """Measures one generation from when its request was received."""

    def __init__(self, received_ns: int) -> None:
        self._received_ns = received_ns
        self._first_ns: int | None = None
        self._last_ns = received_ns

    def sent(self, now_ns: int) -> None:
        if self._first_ns is None:
            self._first_ns = now_ns
        self._last_ns = now_ns

    def measured(self, tokens: int, ended_ns: int) -> MeasuredTokens:
        """Return the measurement of a generation with `tokens` of output."""
        if self._first_ns is None:
            return MeasuredTokens(None, None, (ended_ns - self._received_ns) / NS_PER_MS)
        tpot_ms = (self._last_ns - self._first_ns) / (tokens - 1) / NS_PER_MS if tokens > 1 else None
        ttft_ms = (self._first_ns - self._received_ns) / NS_PER_MS
        return MeasuredTokens(ttft_ms, tpot_ms, (self._last_ns - self._received_ns) / NS_PER_MS)


def _first_word(text: str) -> str:
    words = plain(text).split(maxsplit=1)
    return words[0] if words else ""

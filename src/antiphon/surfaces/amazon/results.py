"""Recognition as Amazon's results and their items: words, and the punctuation marks after them."""

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from antiphon.core.agreement import LocalAgreement
from antiphon.core.events import Final, Interim, Transcript, Word
from antiphon.core.languages import match_language
from antiphon.core.rewriting import Rewritten
from antiphon.core.text import plain, word_span
from antiphon.surfaces.amazon import wire
from antiphon.surfaces.amazon.parameters import Request
from antiphon.surfaces.amazon.redaction import PII
from antiphon.surfaces.amazon.stability import AGREEMENT

CONFIDENCE_DIGITS = 4


class Utterances:
    """The results of one channel, one utterance after another."""

    def __init__(self, request: Request, request_id: str, channel: int) -> None:
        self._request = request
        self._name = f"urn:antiphon:amazon:{request_id}:{channel}:"
        self._channel = f"ch_{channel}" if request.multichannel else None
        self._types = dict(request.redaction.labels) if request.redaction else None
        self._index = 0
        self._open = False
        self._agreement = self._agree()

    def result(self, event: Interim | Final) -> wire.Result | None:
        """Return the result of an event; `None` if the event has no text and no partial result came before it."""
        final = isinstance(event, Final)
        if not event.transcript.text and not (final and self._open):
            return None
        words = event.transcript.words
        stable = len(words) + 1 if final else 0
        if self._agreement is not None and not final:
            stable = min(self._agreement.push([plain(word.text) for word in words]), len(words))
        id = str(uuid5(NAMESPACE_URL, f"{self._name}{self._index}"))
        self._open = not final
        if final:
            self._index += 1
            self._agreement = self._agree()
        stabilised = self._request.stability is not None
        sure = [n < stable if stabilised else None for n in range(len(words) + 1)]
        items = [item for n, word in enumerate(words) for item in _items(word, sure[n], sure[n + 1])]
        return wire.Result(
            result_id=id,
            start_time=_seconds(event.start_ms),
            end_time=_seconds(event.end_ms),
            is_partial=not final,
            alternatives=[wire.Alternative(event.transcript.text, items, self._entities(event))],
            channel_id=self._channel,
            **self._language(event.transcript),
        )

    def _language(self, transcript: Transcript) -> dict[str, Any]:
        """Return the fields of the language: as the caller wrote it, or if it was identified, with its probability."""
        if self._request.language or not transcript.language:
            return {"language_code": self._request.language or None}
        options = self._request.languages
        code = next((each for each in options if match_language(each, (transcript.language,))), transcript.language)
        score = round(transcript.language_confidence, CONFIDENCE_DIGITS)
        return {"language_code": code, "language_identification": [wire.LanguageWithScore(code, score)]}

    def _entities(self, event: Interim | Final) -> list[wire.Entity] | None:
        """Return the personal data that was found, if the caller asked for it."""
        if self._types is None:
            return None
        return [
            wire.Entity(
                start_time=_seconds(each.start_ms),
                end_time=_seconds(each.end_ms),
                type=self._types.get(each.entity, PII),
                content=each.text,
                confidence=round(each.confidence, CONFIDENCE_DIGITS),
            )
            for each in event.transcript.entities
        ]

    def _agree(self) -> LocalAgreement | None:
        return LocalAgreement(*AGREEMENT[self._request.stability]) if self._request.stability is not None else None


def _items(word: Word, stable: bool | None, settled: bool | None) -> Iterator[wire.Item]:
    """Yield the word without its punctuation marks, and each mark. Those after it are stable if what follows is
    `settled`.
    """
    if isinstance(word, Rewritten) and word.bare in word.text:
        begin = word.text.index(word.bare)
        stop = begin + len(word.bare)
    else:
        begin, stop = word_span(word.text)
    start, end = _seconds(word.start_ms), _seconds(word.end_ms)
    for mark in word.text[:begin]:
        yield _mark(mark, start, stable)
    if begin < stop:
        yield wire.Item(
            start_time=start,
            end_time=end,
            type="pronunciation",
            content=word.text[begin:stop],
            vocabulary_filter_match=False,
            confidence=round(word.confidence, CONFIDENCE_DIGITS),
            stable=stable,
        )
    for mark in word.text[stop:]:
        yield _mark(mark, end, settled)


def _mark(mark: str, at: float, stable: bool | None) -> wire.Item:
    return wire.Item(
        start_time=at, end_time=at, type="punctuation", content=mark, vocabulary_filter_match=False, stable=stable
    )


def _seconds(ms: int) -> float:
    return ms / 1000

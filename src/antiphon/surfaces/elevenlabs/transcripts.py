"""Recognition in ElevenLabs' form, of recordings and live: text and words, with a word of type `spacing` between two
words, except in scripts without spaces.

A word's `logprob` is the logarithm of its confidence, the geometric mean of its tokens' probabilities. The times of
characters are not measured: a word's time is divided evenly among them, and a header of the answer says so.
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from antiphon.core.errors import CallerError
from antiphon.core.events import Final, Interim
from antiphon.core.events import Word as CoreWord
from antiphon.core.text import gap, join
from antiphon.core.wire import Bearer, Opening, Pending
from antiphon.surfaces.elevenlabs import languages, wire

MAX_TERM_WORDS = 5
SPREAD_CHARACTERS = (("antiphon-interpolated", "words.characters"),)
MIN_LOGPROB = -100.0  # zero has no logarithm

WORD, SPACING, SPACE = "word", "spacing", " "


class Granularity(StrEnum):
    """The parts that have times."""

    NONE = "none"
    WORD = "word"
    CHARACTER = "character"


class Character(Struct, frozen=True):
    text: str
    start: float
    end: float


class Word(Struct, frozen=True, omit_defaults=True):
    """A word, or the space after one, which has `logprob` 0 since it was not predicted."""

    text: str
    start: float | UnsetType
    end: float | UnsetType
    type: str
    logprob: float
    speaker_id: str | UnsetType = UNSET
    characters: list[Character] | UnsetType = UNSET
    channel_index: int | UnsetType = UNSET


def text_of(results: Iterable[Final | Interim]) -> str:
    """Return the text of all results."""
    return join(each.transcript.text.strip() for each in results)


def words_of(
    finals: Sequence[Final], granularity: Granularity = Granularity.WORD, channels: bool = False
) -> list[Word]:
    """Return the words of all finals. If each speaker has a channel (`channels`), a word names both."""
    words: list[Word] = []
    before: CoreWord | None = None
    for final in finals:
        for word in _words(final):
            if before is not None and gap(before.text, word.text):
                between = CoreWord(SPACE, before.end_ms, max(before.end_ms, word.start_ms), 1.0)
                words.append(_word(between, SPACING, final.channel, granularity, channels))
            words.append(_word(word, WORD, final.channel, granularity, channels))
            before = word
    return words


def _words(final: Final) -> Sequence[CoreWord]:
    """Return the words; if no times were requested, those of the text, each with the confidence of the whole."""
    transcript = final.transcript
    if transcript.words:
        return transcript.words
    return [CoreWord(text, final.start_ms, final.end_ms, transcript.confidence) for text in transcript.text.split()]


def _word(word: CoreWord, kind: str, channel: int, granularity: Granularity, channels: bool) -> Word:
    timed = granularity is not Granularity.NONE
    return Word(
        text=word.text,
        start=word.start_ms / 1000 if timed else UNSET,
        end=word.end_ms / 1000 if timed else UNSET,
        type=kind,
        logprob=_logprob(word.confidence),
        speaker_id=f"speaker_{channel}" if channels else UNSET,
        characters=_characters(word) if granularity is Granularity.CHARACTER else UNSET,
        channel_index=channel if channels else UNSET,
    )


def _logprob(confidence: float) -> float:
    return round(max(math.log(confidence), MIN_LOGPROB), 6) + 0.0 if confidence > 0 else MIN_LOGPROB


def _characters(word: CoreWord) -> list[Character]:
    length_ms, count = word.end_ms - word.start_ms, len(word.text)
    edges = [(word.start_ms + length_ms * place // count) / 1000 for place in range(count + 1)]
    return [Character(*each) for each in zip(word.text, edges, edges[1:], strict=False)]


def hearing(language: str, others: Sequence[str], keyterms: Sequence[str]) -> dict[str, Any]:
    """Return the recognition's settings as fields of a `TranscribeSpec`: one language, or several of which one is
    spoken.
    """
    several = dict.fromkeys(map(languages.tag, (language, *others))) if language and others else ()
    return {
        "language": "" if several else languages.tag(language),
        "languages": tuple(several or map(languages.tag, others)),
        "keyterms": tuple(dict.fromkeys(filter(None, map(str.strip, keyterms)))),
    }


def check_keyterms(keyterms: Sequence[str], *, most: int, chars: int) -> None:
    """Raise `CallerError` for more than `most` key terms, or one of more than `chars` characters or `MAX_TERM_WORDS`
    words.
    """
    if len(keyterms) > most or any(len(term) > chars or len(term.split()) > MAX_TERM_WORDS for term in keyterms):
        message = (
            f"At most {most} key terms are allowed, each of at most {chars} characters and {MAX_TERM_WORDS} words."
        )
        raise CallerError(message, param="keyterms")


class TokenPlace(wire.KeyPlace):
    """The places of the credential of endpoints that also accept a single-use token, in the query."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | Pending | None:
        """Return the token in the query, else the key: ElevenLabs' SDKs send either."""
        token = dict(opening.query).get("token", "").strip()
        return Bearer(token) if token else super().credential(opening)

"""What was recognised as ElevenLabs writes it, of recordings and live: text, and words with a word of type `spacing`
between any two of them, but where a script has no spaces.

A word's `logprob` is the logarithm of its confidence, the geometric mean of its tokens' probabilities. The times of
characters are not measured: a word's time is spread evenly over them, and the answer says so in a header.
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from antiphon.core.errors import CallerError
from antiphon.core.events import Final, Interim
from antiphon.core.events import Word as Heard
from antiphon.core.text import gap, join
from antiphon.core.wire import Bearer, Opening, Pending
from antiphon.surfaces.elevenlabs import languages, wire

MAX_TERM_WORDS = 5
SPREAD_CHARACTERS = (("antiphon-interpolated", "words.characters"),)
MIN_LOGPROB = -100.0  # a probability of nothing has no logarithm

WORD, SPACING, SPACE = "word", "spacing", " "


class Granularity(StrEnum):
    """What has times."""

    NONE = "none"
    WORD = "word"
    CHARACTER = "character"


class Character(Struct, frozen=True):
    text: str
    start: float
    end: float


class Word(Struct, frozen=True, omit_defaults=True):
    """A word, or the space after one, for which nothing was predicted: its `logprob` is 0."""

    text: str
    start: float | UnsetType
    end: float | UnsetType
    type: str
    logprob: float
    speaker_id: str | UnsetType = UNSET
    characters: list[Character] | UnsetType = UNSET
    channel_index: int | UnsetType = UNSET


def text_of(heard: Iterable[Final | Interim]) -> str:
    """What was said in all of them."""
    return join(each.transcript.text.strip() for each in heard)


def words_of(
    finals: Sequence[Final], granularity: Granularity = Granularity.WORD, channels: bool = False
) -> list[Word]:
    """The words of all of them. Where speakers have `channels` of their own, a word has its channel, too."""
    words: list[Word] = []
    before: Heard | None = None
    for final in finals:
        for heard in _heard(final):
            if before is not None and gap(before.text, heard.text):
                between = Heard(SPACE, before.end_ms, max(before.end_ms, heard.start_ms), 1.0)
                words.append(_word(between, SPACING, final.channel, granularity, channels))
            words.append(_word(heard, WORD, final.channel, granularity, channels))
            before = heard
    return words


def _heard(final: Final) -> Sequence[Heard]:
    """Its words; where no times were asked for, as its text has them, each as likely as all of it."""
    said = final.transcript
    if said.words:
        return said.words
    return [Heard(text, final.start_ms, final.end_ms, said.confidence) for text in said.text.split()]


def _word(heard: Heard, kind: str, channel: int, granularity: Granularity, channels: bool) -> Word:
    timed = granularity is not Granularity.NONE
    return Word(
        text=heard.text,
        start=heard.start_ms / 1000 if timed else UNSET,
        end=heard.end_ms / 1000 if timed else UNSET,
        type=kind,
        logprob=_logprob(heard.confidence),
        speaker_id=f"speaker_{channel}" if channels else UNSET,
        characters=_characters(heard) if granularity is Granularity.CHARACTER else UNSET,
        channel_index=channel if channels else UNSET,
    )


def _logprob(confidence: float) -> float:
    return round(max(math.log(confidence), MIN_LOGPROB), 6) + 0.0 if confidence > 0 else MIN_LOGPROB


def _characters(heard: Heard) -> list[Character]:
    length_ms, count = heard.end_ms - heard.start_ms, len(heard.text)
    edges = [(heard.start_ms + length_ms * place // count) / 1000 for place in range(count + 1)]
    return [Character(*each) for each in zip(heard.text, edges, edges[1:], strict=False)]


def hearing(language: str, others: Sequence[str], keyterms: Sequence[str]) -> dict[str, Any]:
    """How the model is to hear, as fields of a `TranscribeSpec`: that language, or one of several."""
    several = dict.fromkeys(map(languages.tag, (language, *others))) if language and others else ()
    return {
        "language": "" if several else languages.tag(language),
        "languages": tuple(several or map(languages.tag, others)),
        "keyterms": tuple(dict.fromkeys(filter(None, map(str.strip, keyterms)))),
    }


def check_keyterms(keyterms: Sequence[str], *, most: int, chars: int) -> None:
    """Raises `CallerError` for more of them, or longer ones, than ElevenLabs takes."""
    if len(keyterms) > most or any(len(term) > chars or len(term.split()) > MAX_TERM_WORDS for term in keyterms):
        told = f"At most {most} key terms are allowed, each of at most {chars} characters and {MAX_TERM_WORDS} words."
        raise CallerError(told, param="keyterms")


class TokenPlace(wire.KeyPlace):
    """Where a single-use token stands that is in place of the key: in the query."""

    def credential(self, opening: Opening, first: str | bytes | None = None) -> Bearer | Pending | None:
        """ElevenLabs' SDKs send the one or the other; the token counts where there are both."""
        token = dict(opening.query).get("token", "").strip()
        return Bearer(token) if token else super().credential(opening)

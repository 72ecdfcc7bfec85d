"""The filter of one call: every event for the caller passes through it, and no text leaves before it was searched.

It fails closed: the call ends if the model does not answer in time, and at any error. An interim that the model has not
read in time, or that is in another language, repeats the previous one.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from antiphon.core.errors import CapacityError
from antiphon.core.events import (
    ChoiceEnded,
    Final,
    Interim,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Transcript,
)
from antiphon.core.redaction import Redaction, Span, Tagger
from antiphon.trust.redaction.hiding import pieces_of, rewritten, shown
from antiphon.trust.redaction.labels import Labels
from antiphon.trust.redaction.texts import TextStream
from antiphon.trust.redaction.transcripts import Transcripts

INTERIM_S = 0.1  # for the model to read an interim; after that the previous one is repeated
FINAL_S = 5.0  # for the model to read anything else; after that the call ends
INTERIM_SHARE = 20  # interims of a channel are read for at most one of so many parts of its time
MAX_DOCUMENT_CHARS = 1 << 17  # of a tool call's arguments, or of an answer in JSON

_Key = tuple[type, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """What the model found in an interim that ended at `end_ms`, within `took_s`."""

    end_ms: int
    took_s: float
    text: str
    tagged: Sequence[Span]


class LanguageUnknown(Exception):
    """The speech is in a language for which there are no recognisers."""


class Redactor:
    """Implements `core.ports.EventFilter`. With `whole`, answers are JSON, and are sent when they are complete."""

    add_on = "redact"

    def __init__(
        self, wanted: Redaction, tagger: Tagger | None, *, whole: bool = False, translated: bool = False
    ) -> None:
        self._wanted = wanted
        self._tagger = tagger
        self._whole = whole
        self._translated = translated
        labels = self._labels = Labels(wanted)
        self._transcripts = Transcripts(wanted, labels)
        self._shown: dict[int, Transcript] = {}  # the last interim of each channel
        self._read: dict[int, _Read] = {}  # of the current utterance of each channel, the last one
        self._streams: dict[_Key, TextStream] = {}
        self._documents: dict[_Key, tuple[str, int]] = {}

    async def push(self, events: tuple[Any, ...]) -> tuple[Any, ...]:
        out: list[Any] = []
        for event in events:
            match event:
                case Interim():
                    out.append(await self._interim(event))
                case Final():
                    out.append(await self._final(event))
                case TextDelta() | ReasoningDelta() | ToolCallDelta():
                    out += await self._more(event)
                case ChoiceEnded() | ToolCallStarted():
                    out += await self._rest(event.choice)
                    out.append(event)
                case _:
                    out.append(event)
        for key, stream in self._streams.items():
            if stream.due():
                out += _delta(key, *stream.release(await self._tagged(stream.judged)))
        return tuple(out)

    async def finish(self) -> tuple[Any, ...]:
        choices = {choice for _, choice, _ in (*self._streams, *self._documents)}
        return tuple([event for choice in sorted(choices) for event in await self._rest(choice)])

    # -- speech --------------------------------------------------------------------------------------------------------

    async def _interim(self, event: Interim) -> Interim:
        if not event.transcript.text:
            return replace(event, transcript=replace(event.transcript, tokens=()))
        tagged: Sequence[Span] | None = ()
        if self._foreign(event):
            tagged = None  # the final may still be in English, and ends the call if it is not
        elif self._tagger is not None:
            tagged = await self._tagged_soon(event)
        if tagged is None:
            shown = self._shown.get(event.channel) or Transcript("", 0.0)
            return replace(event, transcript=shown, stable_words=0)
        judged = self._transcripts.interim(event, tagged)
        self._shown[event.channel] = judged.transcript
        return judged

    async def _tagged_soon(self, event: Interim) -> Sequence[Span] | None:
        """Return the model's spans in an interim; `None` if it has read enough of the utterance for now, or does not
        answer in time.
        """
        text, read = self._transcripts.judged(event), self._read.get(event.channel)
        if read is not None and read.text == text:
            return read.tagged
        if read is not None and event.end_ms - read.end_ms < 1000 * INTERIM_SHARE * read.took_s and not event.paused:
            return None
        begun_s = monotonic()
        try:
            async with asyncio.timeout(INTERIM_S):
                tagged = await self._ask(text)
        except (TimeoutError, CapacityError):
            return None
        self._read[event.channel] = _Read(event.end_ms, monotonic() - begun_s, text, tagged)
        return tagged

    async def _final(self, event: Final) -> Final:
        self._shown.pop(event.channel, None)
        read = self._read.pop(event.channel, None)
        if self._foreign(event):
            raise LanguageUnknown
        text = self._transcripts.judged(event)
        tagged = read.tagged if read is not None and read.text == text else await self._tagged(text)
        return self._transcripts.final(event, tagged)

    def _foreign(self, event: Interim | Final) -> bool:
        """Return whether something was heard in a language for which there are no recognisers."""
        language = event.transcript.language.partition("-")[0].lower()
        return bool(event.transcript.text) and language not in ("", "en") and not self._translated

    # -- text ----------------------------------------------------------------------------------------------------------

    async def _more(self, event: TextDelta | ReasoningDelta | ToolCallDelta) -> list[Any]:
        """Add the event's text; return the remaining text of the other streams of the same choice."""
        index = event.index if isinstance(event, ToolCallDelta) else 0
        key = type(event), event.choice, index
        out = await self._rest(event.choice, but=key)
        if isinstance(event, ToolCallDelta) or (self._whole and isinstance(event, TextDelta)):
            more = event.arguments if isinstance(event, ToolCallDelta) else event.text
            text, tokens = self._documents.get(key, ("", 0))
            if len(text) + len(more) > MAX_DOCUMENT_CHARS:
                raise ValueError("too long")
            self._documents[key] = text + more, tokens + event.tokens
            return out
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = TextStream(self._wanted, self._labels, tagged=self._tagger is not None)
        assert isinstance(event, TextDelta | ReasoningDelta)
        stream.add(event.text, event.tokens)
        return out

    async def _rest(self, choice: int, but: _Key | None = None) -> list[Any]:
        """Return all text of a choice that is held back, except that of `but`."""
        out: list[Any] = []
        for key in [key for key in self._streams if key[1] == choice and key != but]:
            stream = self._streams.pop(key)
            if stream.waits:
                out += _delta(key, *stream.release(await self._tagged(stream.judged), all_of_it=True))
        for key in [key for key in self._documents if key[1] == choice and key != but]:
            text, tokens = self._documents.pop(key)
            out += _delta(key, await self._document(text), tokens)
        return out

    async def _document(self, text: str) -> str:
        if not text.strip():
            return text
        pieces = pieces_of(text)
        tags = await self._tag([piece.judged for piece in pieces]) if self._tagger is not None else [()] * len(pieces)
        found = await shown(pieces, self._wanted, self._labels, tags)
        return rewritten(text, found.__getitem__)

    # -- the model -----------------------------------------------------------------------------------------------------

    async def _tagged(self, text: str) -> Sequence[Span]:
        if self._tagger is None or not text.strip():
            return ()
        return (await self._tag([text]))[0]

    async def _tag(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        assert self._tagger is not None
        async with asyncio.timeout(FINAL_S):
            return await self._tagger.tag(texts)

    async def _ask(self, text: str) -> Sequence[Span]:
        assert self._tagger is not None
        return (await self._tagger.tag([text]))[0]


_DELTAS: dict[type, Callable[[int, int, str, int], Any]] = {
    TextDelta: lambda choice, index, text, tokens: TextDelta(choice, text, tokens),
    ReasoningDelta: lambda choice, index, text, tokens: ReasoningDelta(choice, text, tokens),
    ToolCallDelta: ToolCallDelta,
}


def _delta(key: _Key, text: str, tokens: int) -> list[Any]:
    kind, choice, index = key
    return [_DELTAS[kind](choice, index, text, tokens)] if text or tokens else []

"""The sound of one speech call: each clause synthesised, shaped, encoded and timed, and how much that is in all."""

import asyncio

from antiphon.calls.context import SpeechContext, SpeechWork, TextMark, silence
from antiphon.catalogue.voices import Voice
from antiphon.core.events import CharacterTime, ContextEnded, SpeechOutput, Spoken
from antiphon.core.ports import Aligner, Clause
from antiphon.core.specs import SpeakSpec
from antiphon.text.clauses import Phrase
from antiphon.text.timing import read_times, written_times

LONG_BYTES = 16_000  # of samples; from this size they are encoded in a thread

Times = tuple[CharacterTime, ...]


class SpeechSound:
    """The sound of all contexts. `characters` are those whose clause has begun to sound. `voice` sets the sample rate,
    `align` is for timings.
    """

    def __init__(self, spec: SpeakSpec, voice: Voice, align: Aligner | None) -> None:
        self._spec = spec
        self._voice = voice
        self._align = align
        self.characters = self._samples = 0

    @property
    def length_ms(self) -> int:
        """How long all that was made is."""
        return self.ms(self._samples)

    def begin(self, context: SpeechContext, phrase: Phrase) -> SpeechWork:
        """Begin to synthesise a clause."""
        from antiphon.audio.speech import ClauseShaper

        engine, offset = context.voice.engine, context.spoken
        shaper = ClauseShaper(engine.sample_rate, context.voice.gain)
        if not phrase.words:
            return SpeechWork(phrase, "", offset, silence(), shaper)
        text = context.take(phrase.words[-1].end)
        pieces = engine.synthesise(Clause(phrase.text, context.speed * phrase.speed))
        return SpeechWork(phrase, text, offset, pieces, shaper)

    async def push(self, context: SpeechContext, work: SpeechWork, last: bool) -> tuple[SpeechOutput, ...]:
        """Encode what has been made of a clause."""
        if work.shaper.begun:
            self.characters += context.bill()
        pcm = bytes(work.pcm)
        work.pcm.clear()
        written, spelled = await self._times(context, work, pcm, last)
        audio = await self._coded(context, pcm)
        if not audio and not written:
            return ()
        return (self._event(context, audio, written, spelled),)

    async def _coded(self, context: SpeechContext, pcm: bytes) -> bytes:
        """Return the encoded bytes that can be sent after these samples."""
        context.samples += len(pcm) // 2
        self._samples += len(pcm) // 2
        if len(pcm) < LONG_BYTES:
            return context.encoder.push(pcm)
        return await asyncio.to_thread(context.encoder.push, pcm)

    def _event(self, context: SpeechContext, audio: bytes, written: Times = (), spelled: Times = ()) -> Spoken:
        start_ms, context.sent_ms = context.sent_ms, self.ms(context.samples)
        return Spoken(audio, start_ms, context.sent_ms, written, spelled, context.name)

    async def _times(self, context: SpeechContext, work: SpeechWork, pcm: bytes, last: bool) -> tuple[Times, Times]:
        """Return when each character of a clause is spoken, with the last of its sound."""
        words = work.phrase.words
        if not words or self._align is None or not (self._spec.timings or self._spec.times_follow):
            return (), ()
        begun_ms = self.ms(context.samples - len(work.sound) // 2)
        work.sound += pcm
        if not last:
            return (), ()
        from antiphon.audio.resample import to_house_rate

        audio = to_house_rate(bytes(work.sound), self._voice.engine.sample_rate)
        times = await asyncio.to_thread(self._align.align, audio, [word.read for word in words])
        times = [(begun_ms + start_ms, begun_ms + end_ms) for start_ms, end_ms in times]
        end_ms = begun_ms + self.ms(len(work.sound) // 2)
        written = written_times(work.text, work.offset, words, times, begun_ms, end_ms)
        if self._spec.live and work.phrase.flushed and not work.text[-1:].isspace():
            # Clients build words from these characters, and hold the last one back until they see its end.
            written += (CharacterTime(" ", end_ms, end_ms),)
        return written, read_times(words, times)

    async def mark(self, context: SpeechContext, mark: TextMark) -> tuple[SpeechOutput, ...]:
        """Return the mark's event, after the rest of the sound before it."""
        self.characters += context.bill_rest(mark)
        if isinstance(mark.event, ContextEnded):
            audio = context.encoder.finish()
        elif context.samples > context.flushed:
            samples = context.encoder.flush_ms * self._voice.engine.sample_rate // 1000
            audio = await self._coded(context, bytes(2 * samples))
            context.flushed = context.samples
        else:
            audio = b""
        return (self._event(context, audio), mark.event) if audio else (mark.event,)

    def ms(self, samples: int) -> int:
        """Return how long so many samples are."""
        return samples * 1000 // self._voice.engine.sample_rate

"""A detector that takes loud audio for speech, and recognisers that hear numbers."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from antiphon.core import ports, speech
from antiphon.core.audio import BYTES_PER_MS, BYTES_PER_SAMPLE, samples_to_ms
from antiphon.core.capabilities import SpeechCapabilities
from antiphon.core.errors import AntiphonError, EngineError
from antiphon.core.events import Cause, End, Final, Flush, Transcript, Word
from antiphon.core.ports import EngineCall, Hypothesis, Utterance
from antiphon.core.speech import Drained, Load, Mark, SpeechEvent, StreamSpec

FRAME = 1024  # bytes
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class FakeDetector:
    """A detector for which a frame is speech if its loudest sample reaches `threshold`. A stream's state is the frames
    it got.

    `calls` has the runs of each call. While `error` is set, every call raises it.
    """

    def __init__(self, threshold: int = 1000) -> None:
        self.threshold = threshold
        self.calls: list[int] = []
        self.error: Exception | None = None

    def initial_state(self) -> int:
        return 0

    def probabilities(self, runs: Sequence[bytes], states: Sequence[int]) -> tuple[list[list[float]], list[int]]:
        if self.error is not None:
            raise self.error
        probabilities = [[self._probability(run[at : at + FRAME]) for at in range(0, len(run), FRAME)] for run in runs]
        self.calls.append(len(runs))
        return probabilities, [state + len(frames) for state, frames in zip(states, probabilities, strict=True)]

    def _probability(self, frame: bytes) -> float:
        return 0.99 if max(map(abs, memoryview(frame).cast("h"))) >= self.threshold else 0.01


class FakeRecogniser:
    """A recogniser that hears one word in each whole 300 ms: "one two three ...", or the result of `hear` for an
    utterance.

    `calls` has the utterances of each call. A call with an utterance that `fails` raises `EngineError`. A token is a
    word's number; the part of the draft that agrees is counted as accepted. `capabilities` are those it declares; the
    language that it detects is the first of the possible ones.
    """

    WORD_MS = 300

    def __init__(
        self,
        hear: Callable[[Utterance], str] | None = None,
        fails: Callable[[Utterance], bool] = lambda utterance: False,
    ) -> None:
        self.hear = hear or self._count
        self.fails = fails
        self.capabilities = SpeechCapabilities()
        self.calls: list[tuple[Utterance, ...]] = []

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        self.calls.append(tuple(batch))
        if any(self.fails(utterance) for utterance in batch):
            raise EngineError("this was asked for")
        return [self._hypothesis(utterance) for utterance in batch]

    def _count(self, utterance: Utterance) -> str:
        words = len(utterance.pcm) // BYTES_PER_MS // self.WORD_MS
        return " ".join(_NUMBERS[n % len(_NUMBERS)] for n in range(len(utterance.prefix), words))

    def _hypothesis(self, utterance: Utterance) -> Hypothesis:
        texts = self.hear(utterance).split()
        step_ms = len(utterance.pcm) // BYTES_PER_MS // max(1, len(texts)) if utterance.timed else 0
        words = tuple(Word(text, n * step_ms, (n + 1) * step_ms, 0.9) for n, text in enumerate(texts))
        tokens = tuple(range(len(utterance.prefix) + 1, len(utterance.prefix) + len(texts) + 1))
        agreed = zip(tokens, utterance.draft, strict=False)
        accepted = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], agreed))
        return Hypothesis(
            text=" ".join(texts),
            words=words,
            confidence=0.9 if texts else 0.0,
            tokens=tokens,
            pieces=tuple(f" {text}" for text in texts),
            logprobs=(-0.1,) * len(texts),
            accepted=accepted,
            steps=len(tokens) - accepted + 1,
            language=next(iter(utterance.guidance.languages or sorted(self.capabilities.languages)), ""),
            language_confidence=1.0 if len(utterance.guidance.languages) == 1 else 0.75,
        )


class FakeSpeechStream:
    """A stream of `FakeSpeechEngine`. `received` counts samples, `marks` keeps marks; `say` is recognised at once."""

    def __init__(self, spec: StreamSpec, call: EngineCall, load: Callable[[int], None]) -> None:
        self.spec = spec
        self.call = call
        self.received = 0
        self.marks: list[Mark] = []
        self.speaking = True
        self.settled = 0
        self.closed = False
        self._final_from = 0
        self._load = load
        self._unread: asyncio.Queue[SpeechEvent | AntiphonError | None] = asyncio.Queue()

    def speech_peak(self) -> float:
        return 0.0

    def say(self, item: SpeechEvent | AntiphonError) -> None:
        self._unread.put_nowait(item)

    async def feed(self, pcm: bytes) -> None:
        self.received += len(pcm) // BYTES_PER_SAMPLE

    def tell(self, mark: Mark) -> None:
        self.marks.append(mark)
        if isinstance(mark, Flush | End):
            self._finish(Cause.FLUSH if isinstance(mark, Flush) else Cause.END)
        if isinstance(mark, End):
            self.say(SpeechEvent(Drained(self.spec.channel)))

    def _finish(self, cause: Cause) -> None:
        start, end, self._final_from = self._final_from, self.received, self.received
        words = samples_to_ms(end - start) // FakeRecogniser.WORD_MS
        text = " ".join(_NUMBERS[n % len(_NUMBERS)] for n in range(words))
        transcript = Transcript(text, 0.9 if text else 0.0)
        final = Final(self.spec.channel, samples_to_ms(start), samples_to_ms(end), transcript, cause)
        self.say(SpeechEvent(final, start + 1, end))

    async def events(self) -> AsyncGenerator[tuple[SpeechEvent, ...], None]:
        while (item := await self._unread.get()) is not None:
            if isinstance(item, AntiphonError):
                raise item
            yield (item,)
            if isinstance(item.event, Drained):
                return

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._unread.put_nowait(None)
            self._load(-1)


class FakeSpeechEngine:
    """A speech engine as sessions see it (`core.speech.SpeechEngine`), without a recogniser: at a flush and at the end
    it recognises one word in each whole 300 ms since the last one; a test makes its `streams` say everything else.
    """

    def __init__(self) -> None:
        self.streams: list[FakeSpeechStream] = []
        self.error: AntiphonError | None = None
        self.stream_share = 0.01
        self.capabilities = SpeechCapabilities()
        self._live = 0

    async def open(self, spec: StreamSpec, call: EngineCall) -> FakeSpeechStream:
        if self.error is not None:
            raise self.error
        stream = FakeSpeechStream(spec, call, self._count)
        self._count(1)
        self.streams.append(stream)
        return stream

    def _count(self, more: int) -> None:
        self._live += more

    def load(self) -> Load:
        return Load(self._live, 0, {}, 2, self.stream_share)


if TYPE_CHECKING:  # makes mypy check that the fake implements its port
    _VOICE_DETECTOR: type[ports.VoiceDetector[int]] = FakeDetector
    _RECOGNISER: type[ports.Recogniser] = FakeRecogniser
    _SPEECH_STREAM: type[speech.SpeechStream] = FakeSpeechStream
    _SPEECH_ENGINE: type[speech.SpeechEngine] = FakeSpeechEngine

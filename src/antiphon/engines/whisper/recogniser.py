"""The server's side of Whisper's process: batches in, hypotheses out. If the process dies, a batch is retried once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path

from antiphon.core.capabilities import SpeechAbility, SpeechCapabilities
from antiphon.core.errors import CapacityError, EngineError
from antiphon.core.events import Word
from antiphon.core.languages import match_language
from antiphon.core.ports import Hypothesis, Utterance
from antiphon.engines.process import KeptProcess, Unloadable, frame
from antiphon.engines.whisper.messages import (
    Failed,
    Load,
    Ready,
    Recognise,
    Recognised,
    Result,
    Row,
    report_decoder,
)

LONGEST_BATCH_S = 120.0
RESTART_S = 15.0  # from the end of its process, how long a batch waits for the restart
MOST_OPEN = 64  # batches
MAX_PROMPT_CHARS = 4_096  # from its end; more than the decoder has positions for
UNSPACED = frozenset(("zh", "ja", "th", "lo", "my", "yue"))  # written without spaces: a word is a token


@dataclass(frozen=True, slots=True)
class WhisperSettings:
    """The settings of Whisper. `workers` batches are computed at once. `language` is that of a multilingual model's
    calls that name none; if empty, it is detected.
    """

    workers: int = 2
    language: str = ""


@dataclass(frozen=True, slots=True)
class WhisperStats:
    running: int
    rss_bytes: int
    restarts: int
    stuck: int
    up: bool


class _Lost(Exception):
    """The process has ended."""


class Whisper(KeptProcess):
    """Implements `core.ports.Recogniser`. Use `start`, in the event loop; `recognise` is called from other threads."""

    worker = "antiphon.engines.whisper.worker"
    name = "speech model"

    def __init__(self, path: Path, settings: WhisperSettings) -> None:
        super().__init__(Load(str(path.absolute()), settings.workers, settings.language))
        self.capabilities = SpeechCapabilities()
        self._language = settings.language
        self._loop = asyncio.get_running_loop()
        self._open_batches: dict[int, asyncio.Future[Recognised]] = {}
        self._next = 0
        self._up = asyncio.Event()
        self._down_s = 0.0  # the loop's time at which the process ended

    @classmethod
    async def start(cls, path: Path, settings: WhisperSettings = WhisperSettings()) -> "Whisper":
        """Load a model. `path` is a folder with a CTranslate2 model. Raises `EngineError` if it cannot be loaded."""
        return await cls(path, settings)._begin()

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        """Recognise a batch: see `core.ports.Recogniser`. Drafts have no effect: the library verifies none."""
        recognised = asyncio.run_coroutine_threadsafe(self._recognise(batch), self._loop).result()
        return [_hypothesis(result, row.timed) for result, row in zip(recognised.results, batch, strict=True)]

    async def _recognise(self, batch: Sequence[Utterance]) -> Recognised:
        rows = tuple(_row(utterance) for utterance in batch)
        try:
            return await self._ask(rows)
        except _Lost:
            try:
                async with asyncio.timeout_at(self._down_s + RESTART_S):
                    await self._up.wait()
                return await self._ask(rows)
            except (TimeoutError, _Lost):
                raise self._away() from None

    async def _ask(self, rows: tuple[Row, ...]) -> Recognised:
        if len(self._open_batches) >= MOST_OPEN:
            raise CapacityError("The speech model has as many batches as it can take.", retry_after_s=1)
        transport = self._transport
        if transport is None:
            raise _Lost
        number, self._next = self._next, self._next + 1
        awaited = self._open_batches[number] = self._loop.create_future()
        try:
            transport.write(frame(Recognise(number, rows)))
            async with self._owed(LONGEST_BATCH_S):
                recognised: Recognised = await awaited
                return recognised
        finally:
            del self._open_batches[number]

    def stats(self) -> WhisperStats:
        return WhisperStats(len(self._open_batches), self._rss_bytes(), self._restarts, self._stuck, self.up)

    # -- hearing -------------------------------------------------------------------------------------------------------

    def handle(self, body: bytes) -> Ready | Unloadable | None:
        report = report_decoder.decode(body)
        if isinstance(report, Ready | Unloadable):
            return report
        awaited = self._open_batches.get(report.number)
        if awaited is not None and not awaited.done():
            if isinstance(report, Failed):
                awaited.set_exception(EngineError("The speech model could not recognise this."))
            else:
                awaited.set_result(report)
        return None

    def ready(self, loaded: Ready) -> None:
        self.capabilities = _capabilities(frozenset(loaded.languages), self._language)
        self._up.set()

    def forsaken(self, failure: EngineError) -> None:
        if self._up.is_set():  # called also after each failed start
            self._down_s = self._loop.time()
            self._up.clear()
        for awaited in self._open_batches.values():
            if not awaited.done():
                awaited.set_exception(_Lost)


def _capabilities(languages: frozenset[str], language: str) -> SpeechCapabilities:
    """Return the capabilities of a model for these languages; `language` is the default."""
    if len(languages) == 1:
        return SpeechCapabilities(languages, next(iter(languages)), frozenset((SpeechAbility.GUIDANCE,)))
    return SpeechCapabilities(languages, match_language(language, languages) or "", frozenset(SpeechAbility))


def _row(utterance: Utterance) -> Row:
    guidance = utterance.guidance
    return Row(
        utterance.pcm,
        utterance.prefix,
        guidance.languages,
        guidance.translate,
        guidance.prompt[-MAX_PROMPT_CHARS:],
        guidance.keyterms,
    )


def _hypothesis(result: Result, timed: bool) -> Hypothesis:
    words: list[Word] = []
    begun: list[int] = []
    spaces = result.language not in UNSPACED
    for at, piece in enumerate(result.pieces):
        if begun and (piece.startswith(" ") if spaces else any(map(str.isalnum, piece))):
            words.append(_word(result, begun, timed))
            begun = []
        begun.append(at)
    if begun:
        words.append(_word(result, begun, timed))
    confidence = exp(sum(result.logprobs) / len(result.logprobs)) if result.logprobs else 0.0
    return Hypothesis(
        text="".join(result.pieces).strip(),
        words=tuple(word for word in words if word.text),
        confidence=confidence,
        tokens=result.tokens,
        pieces=result.pieces,
        logprobs=result.logprobs,
        steps=len(result.tokens) + 1,
        looped=result.looped,
        language=result.language,
        language_confidence=result.language_confidence,
    )


def _word(result: Result, tokens: Sequence[int], timed: bool) -> Word:
    text = "".join(result.pieces[at] for at in tokens).strip()
    confidence = exp(sum(result.logprobs[at] for at in tokens) / len(tokens))
    times = (result.starts_ms[tokens[0]], result.ends_ms[tokens[-1]]) if timed else (0, 0)
    return Word(text, *times, confidence)

"""READ FIRST. One caller's call: open, feed, meter, measure, close.

A transport feeds a session with what its surface made of the caller's messages, and sends what comes out of `events`.
In between, the audio is decoded, each channel goes to a stream of the scheduler, and every result is charged to the
ledger *before* it is yielded: what a caller received is in the ledger. `events` ends with `Closed` or `Failed`,
always; `close` must be called after it, whatever happened, and says in the ledger how it ended.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.audio.decode import Decoder
from antiphon.audio.live import LiveDecoder
from antiphon.core.audio import Encoding, samples_to_ms
from antiphon.core.errors import AntiphonError, CapacityError, InternalError
from antiphon.core.events import Audio, Closed, End, Failed, Final, Flush, Input, Interim, Opened, Output
from antiphon.core.identity import Principal
from antiphon.core.ports import Clock
from antiphon.core.specs import TranscribeSpec
from antiphon.core.usage import Dimension, Quantity
from antiphon.core.wire import Url
from antiphon.metering.entry import Entry
from antiphon.metering.entry import Kind as EntryKind
from antiphon.metering.ledger import Claim
from antiphon.scheduler.runner import Runner
from antiphon.scheduler.stream import NS_PER_MS, Drained, Heard, Stream, StreamSpec
from antiphon.session.observe import Observer
from antiphon.slo.measure import UtteranceTimer
from antiphon.trust.fetch import Fetcher

MAX_UNREAD_EVENTS = 256  # a caller who reads slower than this loses the session, not the server its memory

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """`metering.ledger.Ledger`, or the fake."""

    @property
    def healthy(self) -> bool: ...

    async def append(self, new: Sequence[Entry], claim: Claim | None = None) -> None: ...

    async def claim(self, project: str, key: str, fingerprint: str, session: str, now_unix_ms: int) -> Claim: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions share."""

    clock: Clock
    ledger: Ledger
    runner: Runner
    decoder: Decoder
    fetcher: Fetcher
    observer: Observer


@dataclass(slots=True)
class _Channel:
    stream: Stream
    timer: UtteranceTimer = field(default_factory=UtteranceTimer)
    charged_ms: int = 0
    drained: bool = False


class Session:
    """One call. `id` is a UUID; `model` the local model; `claim` an idempotency key's, if the caller sent one."""

    def __init__(
        self,
        services: Services,
        id: str,
        principal: Principal,
        surface: str,
        model: str,
        spec: TranscribeSpec,
        on_close: Callable[["Session"], None],
        claim: Claim | None = None,
    ) -> None:
        self.id = id
        self.principal = principal
        self.surface = surface
        self.model = model
        self.live = spec.live
        self._services = services
        self._spec = spec
        self._claim = claim
        self._on_close = on_close
        self._decoder: LiveDecoder | None = None
        self._channels: list[_Channel] = []
        self._unread: deque[Heard] = deque()
        self._error: AntiphonError | None = None
        self._something = asyncio.Event()
        self._sequence = 0
        self._outcome = EntryKind.ABANDONED
        self._sha256 = hashlib.sha256()
        self._ended = False
        self._opened_ns = services.clock.now_ns()

    # -- in ------------------------------------------------------------------------------------------------------------

    async def feed(self, given: Input) -> None:
        """One thing the caller did. Errors in it end the session through `events`. Waits where audio comes too fast."""
        try:
            match given:
                case Audio(data):
                    if not self._ended:
                        self._sha256.update(data)
                        self._decoder = self._decoder or self._live_decoder()
                        await self._hear(await self._decoder.feed(data))
                case Flush():
                    for channel in self._channels:
                        self._services.runner.flush(channel.stream)
                case End():
                    await self._end()
        except AntiphonError as error:
            self.fail(error)

    async def play(self, media: bytes | Url) -> None:
        """A whole recording in place of `feed`."""
        try:
            data = await self._services.fetcher.fetch(media.url) if isinstance(media, Url) else media
            self._sha256.update(data)
            if self._spec.format.encoding is Encoding.CONTAINER:
                decoded = await self._services.decoder.decode(data, multichannel=self._spec.multichannel)
                await self._hear(list(decoded.channels))
            else:
                self._decoder = self._live_decoder()
                await self._hear(await self._decoder.feed(data))
            await self._end()
        except AntiphonError as error:
            self.fail(error)

    def _live_decoder(self) -> LiveDecoder:
        return LiveDecoder(self._services.decoder, self._spec.format, multichannel=self._spec.multichannel)

    async def _hear(self, pcm: list[bytes]) -> None:
        """New 16 kHz audio, one piece per channel; the first says how many there are."""
        if not self._channels and pcm:
            self._channels = [_Channel(self._open_stream(n)) for n in range(len(pcm))]
        for channel, piece in zip(self._channels, pcm, strict=True) if pcm else ():
            if piece:
                await self._services.runner.feed(channel.stream, piece)

    def _open_stream(self, channel: int) -> Stream:
        spec = StreamSpec(
            channel=channel,
            live=self._spec.live,
            interims=self._spec.interims,
            endpointing_ms=self._spec.endpointing_ms,
            utterance_end_ms=self._spec.utterance_end_ms,
            speech_events=self._spec.speech_events,
            timed=self._spec.word_times,
            tokens=self._spec.tokens,
        )
        return self._services.runner.open(spec, self._emit)

    async def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._decoder:
            await self._hear(await self._decoder.finish())
        for channel in self._channels:
            self._services.runner.end(channel.stream)
        self._something.set()

    def fail(self, error: AntiphonError) -> None:
        """End the session with an error; the first one counts."""
        self._error = self._error or error
        self._something.set()

    def drain(self) -> None:
        """The server is stopping: finalise what was heard and close."""
        self._draining = asyncio.create_task(self.feed(End()), name=f"drain {self.id}")

    # -- out -----------------------------------------------------------------------------------------------------------

    def _emit(self, heard: Heard | AntiphonError) -> None:
        """From the streams. An interim that was not read yet is replaced by the newer one."""
        if isinstance(heard, AntiphonError):
            self.fail(heard)
            return
        if isinstance(heard.event, Interim) and self._unread:
            last = self._unread[-1].event
            if isinstance(last, Interim) and last.channel == heard.event.channel:
                self._unread.pop()
        if len(self._unread) >= MAX_UNREAD_EVENTS and self._spec.live:
            self.fail(CapacityError("Results were not read fast enough."))
            return
        self._unread.append(heard)
        self._something.set()

    async def events(self) -> AsyncIterator[Output]:
        """Everything the caller is told, each result durable in the ledger before it is yielded."""
        yield Opened(self.model)
        try:
            async for event in self._results():
                yield event
        except AntiphonError as error:
            yield Failed(error)
        except Exception:
            yield Failed(InternalError("The server failed; this has been logged."))
            raise

    async def _results(self) -> AsyncIterator[Output]:
        while True:
            while not self._unread:
                if self._error:
                    raise self._error
                if self._ended and all(c.drained for c in self._channels):
                    yield await self._closed()
                    return
                self._something.clear()
                await self._something.wait()
            if self._error:
                raise self._error
            heard = self._unread.popleft()
            event = heard.event
            if isinstance(event, Drained):
                self._channels[event.channel].drained = True
                continue
            channel = self._channels[event.channel]
            if isinstance(event, Final) and self._spec.incremental:
                await self._charge([(event.channel, event.end_ms)])
            yield event
            self._measure(channel, heard)

    def _measure(self, channel: _Channel, heard: Heard) -> None:
        """After the transport took the event: how late it was."""
        if not self._spec.live:
            return
        now_ns = self._services.clock.now_ns()
        match heard.event:
            case Interim(transcript=transcript):
                channel.timer.interim(transcript.text, now_ns)
            case Final(transcript=transcript) if transcript.text and heard.onset_ns:
                interims = self._spec.interims
                measured = channel.timer.final(transcript.text, heard.onset_ns, heard.spoken_ns, now_ns, interims)
                self._services.observer.utterance(measured)

    async def _closed(self) -> Closed:
        """Charge what no result has covered yet, and sum up."""
        lengths = [samples_to_ms(c.stream.received) for c in self._channels]
        await self._charge(list(enumerate(lengths)))
        if not self._spec.live:
            took_ms = (self._services.clock.now_ns() - self._opened_ns) / NS_PER_MS
            self._services.observer.recording(took_ms, sum(lengths))
        self._outcome = EntryKind.COMPLETED
        return Closed(max(lengths, default=0), max(1, len(lengths)), self._sha256.hexdigest())

    # -- the ledger ----------------------------------------------------------------------------------------------------

    async def _charge(self, upto: list[tuple[int, int]]) -> None:
        """Entries for each (channel, milliseconds of its audio), less what was charged before; durable on return."""
        entries = []
        for number, end_ms in upto:
            amount = end_ms - self._channels[number].charged_ms
            if amount > 0:
                entries.append(self._entry(EntryKind.USAGE, number, amount))
        if not entries:
            return
        begun_ns = self._services.clock.now_ns()
        await self._services.ledger.append(entries, self._claim)
        for number, end_ms in upto:
            self._channels[number].charged_ms = max(self._channels[number].charged_ms, end_ms)
        took_ms = (self._services.clock.now_ns() - begun_ns) / NS_PER_MS
        total_ms = sum(e.quantity.amount for e in entries)
        self._services.observer.metered(self.surface, self.model, total_ms, took_ms)

    def _entry(self, kind: EntryKind, channel: int, amount: int) -> Entry:
        self._sequence += 1
        return Entry(
            project=self.principal.project,
            session=self.id,
            sequence=self._sequence - 1,
            kind=kind,
            key_id=self.principal.key_id,
            at_unix_ms=self._services.clock.unix_ms(),
            surface=self.surface,
            model=self.model,
            quantity=Quantity(Dimension.STT_AUDIO_MS, amount),
            channel=channel,
            feature="live" if self._spec.live else "recording",
            tags=self._spec.tags,
        )

    async def close(self, delivered: bool) -> None:
        """Free everything. `delivered` says whether all that `events` yielded was sent; the ledger is told.

        A live caller who left before the end pays for what was heard.
        """
        try:
            if self._spec.live and self._outcome is not EntryKind.COMPLETED:
                await self._charge([(n, samples_to_ms(c.stream.received)) for n, c in enumerate(self._channels)])
            if self._sequence:
                kind = self._outcome if delivered else EntryKind.ABANDONED
                await self._services.ledger.append([self._entry(kind, 0, 0)], self._claim)
        except AntiphonError:
            pass  # nothing more is delivered; the ledger's own recovery marks the session as abandoned
        finally:
            for channel in self._channels:
                self._services.runner.close(channel.stream)
            if self._decoder:
                self._decoder.close()
            self._on_close(self)
            outcome = self._error.code if self._error else ("completed" if delivered else "abandoned")
            self._services.observer.ended(self.surface, outcome)
            audio_ms = sum(c.charged_ms for c in self._channels)
            log.info(
                "session ended",
                extra={
                    "session": self.id,
                    "project": self.principal.project,
                    "key": self.principal.key_id,
                    "surface": self.surface,
                    "model": self.model,
                    "outcome": outcome,
                    "audio_ms": audio_ms,
                },
            )

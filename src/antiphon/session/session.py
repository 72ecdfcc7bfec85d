"""READ FIRST. One caller's call: open, feed, meter, measure, close.

A transport feeds a session with what its surface made of the caller's messages, and sends what comes out of `events`.
In between, the audio is decoded, each channel goes to a stream of the scheduler, and every result is charged to the
ledger *before* it is yielded: what a caller received is in the ledger. `events` ends with `Closed` or `Failed`,
always; `close` must be called after it, whatever happened, and says in the ledger how it ended.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from antiphon.core.audio import BYTES_PER_MS, Encoding, samples_to_ms
from antiphon.core.errors import AntiphonError, CallerError, CapacityError, PolicyError
from antiphon.core.events import Audio, Closed, End, Final, Flush, Input, Interim, Opened, Output
from antiphon.core.identity import Principal
from antiphon.core.specs import TranscribeSpec
from antiphon.core.units import NS_PER_MS
from antiphon.core.usage import Dimension
from antiphon.core.wire import Url
from antiphon.metering.entry import Kind as EntryKind
from antiphon.metering.ledger import Claim
from antiphon.scheduler.events import Drained, Heard
from antiphon.scheduler.specs import StreamSpec, Tuning
from antiphon.scheduler.stream import Stream
from antiphon.session.account import Meter
from antiphon.session.metered import MeteredSession
from antiphon.session.services import Services
from antiphon.slo.measure import UtteranceTimer

if TYPE_CHECKING:
    from antiphon.audio.live import LiveDecoder

MAX_UNREAD_EVENTS = 256  # a caller who reads slower than this loses the session, not the server its memory
PIECE_BYTES = 10_000 * BYTES_PER_MS  # of a recording, given to its stream at once


@dataclass(slots=True)
class _Channel:
    stream: Stream
    timer: UtteranceTimer = field(default_factory=UtteranceTimer)
    drained: bool = False


class Session(MeteredSession[Output]):
    """One call."""

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
        feature = "live" if spec.live else "recording"
        super().__init__(services, id, principal, surface, model, feature, spec.tags, on_close, claim)
        self.live = spec.live
        self._spec = spec
        self._decoder: LiveDecoder | None = None
        self._channels: list[_Channel] = []
        self._tuning: Tuning | None = None
        self._recording_ms: int | None = None  # once it is decoded
        self._unread: deque[Heard] = deque()
        self._something = asyncio.Event()
        self._feeding = asyncio.Lock()  # a decoder's calls must not overlap, and a drain may come at any time
        self._ended = False  # no more input is taken
        self._fed = False  # all input is with the streams
        self._draining: asyncio.Task[None] | None = None
        self._sha256 = hashlib.sha256()
        self._opened_ns = services.clock.now_ns()

    @property
    def charged_whole(self) -> bool:
        """Whether it was charged for an answer that is delivered whole."""
        return not self._spec.incremental and self._account.any

    # -- in ------------------------------------------------------------------------------------------------------------

    async def feed(self, given: Input) -> None:
        """One thing the caller did. Errors in it end the session through `events`. Waits where audio comes too fast."""
        async with self._feeding:
            if self._ended or self._error:
                return
            with self._failing():
                match given:
                    case Audio(data):
                        self._sha256.update(data)
                        self._decoder = self._decoder or self._live_decoder()
                        await self._hear(await self._decoder.feed(data))
                    case Flush():
                        for channel in self._channels:
                            self._services.runner.flush(channel.stream)
                    case End():
                        await self._end()

    async def play(self, media: bytes | Url) -> None:
        """A whole recording in place of `feed`."""
        with self._failing():
            data = await self._services.fetcher.fetch(media.url) if isinstance(media, Url) else media
            await asyncio.to_thread(self._sha256.update, data)  # a big one would hold every live stream up
            channels = await self._decoded(data)
            self._recording_ms = len(channels[0]) // BYTES_PER_MS
            for at in range(0, len(channels[0]), PIECE_BYTES):
                await self._hear([pcm[at : at + PIECE_BYTES] for pcm in channels])
            await self._end()

    async def _decoded(self, data: bytes) -> Sequence[bytes]:
        """A whole recording's channels, all of one length."""
        if self._spec.format.encoding is Encoding.CONTAINER:
            return (await self._services.decoder.decode(data, multichannel=self._spec.multichannel)).channels
        raw = self._live_decoder()
        try:
            return [most + rest for most, rest in zip(await raw.feed(data), await raw.finish(), strict=True)]
        finally:
            raw.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What goes wrong with the input ends the session through `events`."""
        try:
            yield
        except AntiphonError as error:
            self.fail(error)
        except Exception as error:
            self.fail(self._defect(error))

    def _live_decoder(self) -> "LiveDecoder":
        from antiphon.audio.live import LiveDecoder

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
        stream = self._services.runner.open(spec, self._emit)
        if self._tuning:
            stream.tune(self._tuning)
        return stream

    def tune(self, tuning: Tuning) -> None:
        """From now on the streams listen so, in place of what the spec says."""
        self._tuning = tuning
        for channel in self._channels:
            channel.stream.tune(tuning)

    def wait(self, silence_ms: int) -> None:
        """In a pause: that silence ends the utterance, unless the speaker goes on before."""
        for channel in self._channels:
            self._services.runner.wait(channel.stream, silence_ms)

    def hears_all(self, heard: Interim) -> bool:
        """Whether the speaker has paused, and that is everything that was said before."""
        pause_ms = self._channels[heard.channel].stream.pause_ms
        return pause_ms is not None and heard.end_ms > pause_ms

    async def _end(self) -> None:
        self._ended = True
        if self._decoder:
            await self._hear(await self._decoder.finish())
        for channel in self._channels:
            self._services.runner.end(channel.stream)
        self._fed = True
        self._something.set()

    def fail(self, error: AntiphonError) -> None:
        super().fail(error)
        self._something.set()

    def drain(self) -> None:
        """The server is stopping: finalise what was heard and close. A recording ends by itself."""
        if self.live:
            self._draining = asyncio.create_task(self.feed(End()), name=f"drain {self.id}")

    # -- out -----------------------------------------------------------------------------------------------------------

    def _emit(self, heard: Heard | AntiphonError) -> None:
        """From the streams. An interim that was not read yet is replaced by the newer one of its channel."""
        if isinstance(heard, AntiphonError):
            self.fail(heard)
            return
        if isinstance(heard.event, Interim):
            last = next((h for h in reversed(self._unread) if h.event.channel == heard.event.channel), None)
            if last and isinstance(last.event, Interim):
                self._unread.remove(last)
        if len(self._unread) >= MAX_UNREAD_EVENTS and self.live:
            self.fail(CapacityError("Results were not read fast enough."))
            return
        self._unread.append(heard)
        self._something.set()

    async def _told(self) -> AsyncGenerator[tuple[Output, ...], None]:
        yield (Opened(self.model),)
        while True:
            while not self._unread:
                if self._error:
                    raise self._error
                if self._fed and all(c.drained for c in self._channels):
                    yield (await self._closed(),)
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
                # A recording's price is known, so it is paid whole: one who leaves after the first result got it all.
                heard_ms = {Meter(Dimension.STT_AUDIO_MS, event.channel): event.end_ms}
                await self._account.charge(heard_ms if self.live else self._lengths())
            yield (event,)
            self._measure(channel, heard)

    def _measure(self, channel: _Channel, heard: Heard) -> None:
        """After the transport took the event: how late it was."""
        if not self.live:
            return
        now_ns = self._services.clock.now_ns()
        match heard.event:
            case Interim(transcript=transcript):
                channel.timer.interim(transcript.text, now_ns)
            case Final(transcript=transcript):
                interims = self._spec.interims
                measured = channel.timer.final(transcript.text, heard.onset_ns, heard.spoken_ns, now_ns, interims)
                if transcript.text:
                    self._services.observer.utterance(measured)

    async def _closed(self) -> Closed:
        """Charge what no result has covered yet, and sum up."""
        lengths = self._lengths()
        await self._account.charge(lengths)
        if not self.live:
            took_ms = (self._services.clock.now_ns() - self._opened_ns) / NS_PER_MS
            self._services.observer.recording(took_ms, sum(lengths.values()))
        self._outcome = EntryKind.COMPLETED
        return Closed(max(lengths.values(), default=0), max(1, len(lengths)), self._sha256.hexdigest())

    def _lengths(self) -> dict[Meter, int]:
        """The milliseconds of each channel's audio."""
        recorded_ms = self._recording_ms
        return {
            Meter(Dimension.STT_AUDIO_MS, number): (
                samples_to_ms(channel.stream.received) if recorded_ms is None else recorded_ms
            )
            for number, channel in enumerate(self._channels)
        }

    # -- the end -------------------------------------------------------------------------------------------------------

    def _owed(self) -> dict[Meter, int]:
        """A live caller who left before the end pays for what was heard, as does one whose own error ended it; where
        the fault is ours, only what was delivered is charged.
        """
        theirs = self._error is None or isinstance(self._error, CallerError | PolicyError)
        return self._lengths() if self.live and theirs else {}

    async def _free(self) -> None:
        self._ended = True
        if self._draining:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        for channel in self._channels:
            self._services.runner.close(channel.stream)
        if self._decoder:
            self._decoder.close()

"""READ FIRST. One caller's call: open, feed, meter, measure, close.

A transport feeds a session with its surface's translation of the caller's messages, and sends the output of `events`.
In between, the audio is decoded, each channel goes to a stream of a speech engine, and every result is charged to the
ledger *before* it is yielded: what a caller received is in the ledger. `events` always ends with `Closed` or `Failed`;
`close` must be called after it in any case, and records in the ledger how it ended.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from antiphon.calls import demands, turn_rules
from antiphon.calls.input_channel import InputChannel, TimedEvent, lengths_ms
from antiphon.calls.metered import MeteredSession
from antiphon.calls.recording import Recording, live_decoder
from antiphon.calls.redacted_copy import RedactedCopy
from antiphon.calls.services import Services
from antiphon.calls.stretches import Stretches
from antiphon.core.audio import BYTES_PER_MS, BYTES_PER_SAMPLE, Encoding
from antiphon.core.call import Call
from antiphon.core.capabilities import SpeechAbility
from antiphon.core.entry import EntryKind
from antiphon.core.errors import AntiphonError, BadMedia, CallerError, CapacityError, PolicyError
from antiphon.core.events import (
    Audio,
    Closed,
    End,
    Final,
    Flush,
    Guide,
    Input,
    Interim,
    Opened,
    Output,
    Report,
    Retune,
)
from antiphon.core.ports import EngineCall, Guidance
from antiphon.core.specs import TranscribeSpec
from antiphon.core.speech import Drained, SpeechEngine, StreamSpec, Tuning
from antiphon.core.units import NS_PER_MS
from antiphon.core.usage import Dimension, Meter
from antiphon.core.wire import Url

if TYPE_CHECKING:
    from antiphon.audio.live import LiveDecoder

FRESH_NS = 10_000 * NS_PER_MS  # a new stream counts as one with speech for so long
MAX_UNREAD_EVENTS = 256  # above this, a slow reader's session ends, to bound memory
PIECE_BYTES = 10_000 * BYTES_PER_MS  # of a recording, passed to its stream at once


class Recognition(MeteredSession[Output]):
    """One call, recognised by `engine`."""

    def __init__(
        self,
        services: Services,
        call: Call[TranscribeSpec],
        model: str,
        engine: SpeechEngine,
        on_close: Callable[["Recognition"], None],
        unmet: frozenset[SpeechAbility] = frozenset(),
    ) -> None:
        """Create for a spec settled with the engine; `unmet` are the abilities whose parameters have no effect on
        it.
        """
        spec, principal = call.spec, call.principal
        feature = "live" if spec.live else "recording"
        demand = partial(demands.of_audio, spec)
        super().__init__(services, call, model, feature, on_close, demand)
        self.live = spec.live
        self.unmet = unmet
        self._engine = engine
        self._engine_call = EngineCall(call.id, project=principal.project, weight=principal.weight)
        self._spec = spec
        self._decoder: LiveDecoder | None = None
        self._channels: list[InputChannel] = []
        self._turns = spec.turns
        self._tuning = turn_rules.tuning(spec.turns) if spec.turns else None
        self._recording_ms: int | None = None  # once decoded
        self._held = services.decoder.budget.hold()  # for the decoded audio
        wanted = spec.redacted_audio
        self._covering = RedactedCopy(wanted, self._held) if wanted is not None else None
        self._unread: deque[TimedEvent] = deque()
        self._listeners: list[asyncio.Task[None]] = []  # one for each channel
        self._something = asyncio.Event()
        self._feeding = asyncio.Lock()  # a decoder's calls must not overlap, and a drain may come at any time
        self._ended = False  # no more input is accepted
        self._fed = False  # the streams have all input
        self._draining: asyncio.Task[None] | None = None
        self._sha256 = hashlib.sha256()
        self._opened_ns = services.clock.now_ns()
        self._stretches: Stretches | None = None
        if self.live and self._allowance is not None:
            self._stretches = Stretches(self._allowance, self._channels, spec.charges_time)

    @property
    def _charged_open_ms(self) -> int:
        """How long it has been open, if that is charged."""
        return (self._services.clock.now_ns() - self._opened_ns) // NS_PER_MS if self._spec.charges_time else 0

    @property
    def silent(self) -> bool:
        """Whether there was no speech for a while."""
        if self._services.clock.now_ns() - self._opened_ns < FRESH_NS:
            return False
        return not any(channel.stream.speaking for channel in self._channels)

    @property
    def whole(self) -> bool:
        """Whether its first result costs as much as all: true for recordings, even with separate results."""
        return not self.live

    # -- in ------------------------------------------------------------------------------------------------------------

    async def feed(self, event: Input) -> None:
        """Process one input. Errors in it end the session through `events`. Waits if audio comes too fast."""
        async with self._feeding:
            if self._ended or self._error:
                return
            with self._failing():
                match event:
                    case Audio(data):
                        self._sha256.update(data)
                        self._decoder = self._decoder or self._live_decoder()
                        await self._hear(await self._decoder.feed(data))
                    case Flush(channel=target):
                        await self._expect_channels()
                        for number, channel in enumerate(self._channels):
                            if target in (None, number):
                                channel.tell(event, self._services.clock.now_ns())
                    case Report():
                        await self._expect_channels()
                        for number, channel in enumerate(self._channels):
                            self._take(channel.progress(number))
                    case Retune(turns):
                        self._turns = turns
                        self.tune(turn_rules.tuning(turns))
                    case Guide(prompt, keyterms):
                        self._guide(prompt, keyterms)
                    case End():
                        await self._end()

    async def play(self, media: bytes | Url) -> None:
        """Process a whole recording, in place of `feed`."""
        with self._failing():
            recording = Recording(self._services, self.call.principal, self._spec, self._held, self._opened_ns)
            data = await recording.fetch(media.url) if isinstance(media, Url) else media
            await asyncio.to_thread(self._sha256.update, data)  # a big one would block every live stream
            channels = await recording.channels(data)
            self._recording_ms = len(channels[0]) // BYTES_PER_MS
            if self._covering is not None:
                self._covering.hear(channels)
            if self._allowance is not None:
                self._allowance.cover(demands.audio_meters(self._recording_ms, len(channels)))
            for at in range(0, len(channels[0]), PIECE_BYTES):
                await self._hear([bytes(pcm[at : at + PIECE_BYTES]) for pcm in channels])
            await self._end()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """End the session through `events` if the input causes an error."""
        try:
            yield
        except AntiphonError as error:
            self.fail(error)
        except Exception as error:
            self.fail(self._defect(error))

    def _live_decoder(self) -> "LiveDecoder":
        return live_decoder(self._services, self._spec)

    async def _hear(self, pcm: list[bytes]) -> None:
        """Process new 16 kHz audio, one piece per channel; the first call sets the number of channels."""
        if not self._channels and pcm:
            declared = self._spec.format.channels
            if self.live and len(pcm) > declared:  # it was admitted as so many streams
                raise BadMedia(f"The audio has {len(pcm)} channels, and {declared} were declared.")
            for number in range(len(pcm)):
                await self._open_channel(number)
        if self._stretches is not None and not self._stretches.cover(pcm, self._charged_open_ms):
            self._hear_no_more()
            return
        for channel, piece in zip(self._channels, pcm, strict=True) if pcm else ():
            if piece:
                channel.arrivals.add(len(piece) // BYTES_PER_SAMPLE, self._services.clock.now_ns())
                channel.arrivals.forget(channel.stream.settled)
                await channel.stream.feed(piece)

    def renew(self) -> None:
        """Reserve a further stretch of time, where that is charged, or end; to be called several times a second."""
        if not self._spec.charges_time or self._stretches is None or self._ended or self._draining:
            return
        if not self._stretches.cover((), self._charged_open_ms):
            self.drain()

    def _hear_no_more(self) -> None:
        """End the input: what was heard becomes final."""
        self._ended = self._fed = True
        now_ns = self._services.clock.now_ns()
        for channel in self._channels:
            channel.tell(End(), now_ns)
        self._something.set()

    async def _expect_channels(self) -> None:
        """Open the channels before any audio, if their number is known."""
        spec = self._spec
        if not self._channels and not (spec.multichannel and spec.format.encoding is Encoding.CONTAINER):
            await self._hear([b""] * (spec.format.channels if spec.multichannel else 1))

    async def _open_channel(self, channel: int) -> None:
        spec = StreamSpec(
            channel=channel,
            live=self._spec.live,
            interims=self._spec.interims,
            endpointing_ms=self._spec.endpointing_ms,
            utterance_end_ms=self._spec.utterance_end_ms,
            speech_events=self._spec.speech_events,
            timed=self._spec.word_times,
            tokens=self._spec.tokens,
            guidance=self._guidance,
            voice_threshold=self._spec.voice_threshold,
        )
        stream = await self._engine.open(spec, self._engine_call)
        self._channels.append(opened := InputChannel(stream))
        self._listeners.append(asyncio.create_task(self._listen(opened), name=f"listen {self.call.id}"))
        if self._tuning:
            stream.tell(self._tuning)

    @property
    def _guided(self) -> bool:
        return SpeechAbility.GUIDANCE in self._engine.capabilities.abilities

    @property
    def _guidance(self) -> Guidance:
        return Guidance(self._spec.languages, self._spec.translate, self._spec.prompt, self._spec.keyterms)

    def _guide(self, prompt: str, keyterms: tuple[str, ...]) -> None:
        """Change the text and the key terms that guide the engine, if it can be guided."""
        if not self._guided:
            return
        self._spec = replace(self._spec, prompt=prompt, keyterms=keyterms)
        for channel in self._channels:
            channel.stream.tell(self._guidance)

    def tune(self, tuning: Tuning) -> None:
        """Change the tuning of all streams, in place of the spec's."""
        self._tuning = tuning
        for channel in self._channels:
            channel.stream.tell(tuning)

    def wait(self, silence_ms: int) -> None:
        """End the utterance in the present pause after that silence, unless the speaker continues before."""
        for channel in self._channels:
            channel.wait(silence_ms)

    async def _end(self) -> None:
        self._ended = True
        if self._decoder:
            await self._hear(await self._decoder.finish())
        if not self._fed:
            self._hear_no_more()

    def fail(self, error: AntiphonError) -> None:
        super().fail(error)
        self._something.set()

    def drain(self) -> None:
        """Finalise and close, because the server is stopping or no more time is reserved. A recording ends by
        itself.
        """
        if self.live and self._draining is None:
            self._draining = asyncio.create_task(self.feed(End()), name=f"drain {self.call.id}")

    # -- out -----------------------------------------------------------------------------------------------------------

    async def _listen(self, channel: InputChannel) -> None:
        """Take the events of the channel's stream, until its end."""
        with self._failing():
            async with aclosing(channel.stream.events()) as events:
                async for batch in events:
                    for speech in batch:
                        self._take(channel.add_times(speech))

    def _take(self, timed: TimedEvent) -> None:
        """Queue an event. An unread interim is replaced by the newer one of its channel."""
        if isinstance(timed.event, Interim):
            last = next((each for each in reversed(self._unread) if each.event.channel == timed.event.channel), None)
            if last and isinstance(last.event, Interim):
                self._unread.remove(last)
        if len(self._unread) >= MAX_UNREAD_EVENTS and self.live:
            self.fail(CapacityError("The client did not read results fast enough."))
            return
        self._unread.append(timed)
        self._something.set()

    async def _produce(self) -> AsyncGenerator[tuple[Output, ...], None]:
        languages = self._spec.languages or tuple(sorted(self._engine.capabilities.languages))
        yield (Opened(self.model, unmet_speech=self.unmet, languages=languages, guided=self._guided),)
        while True:
            while not self._unread:
                if self._error:
                    raise self._error
                if self._fed and all(c.drained for c in self._channels):
                    if self._stretches is not None and self._stretches.refusal is not None:
                        raise self._stretches.refusal  # what was heard before is final now
                    self._costs = True
                    yield (self._closed(),)
                    return
                self._something.clear()
                await self._something.wait()
            if self._error:
                raise self._error
            timed = self._unread.popleft()
            event = timed.event
            if isinstance(event, Drained):
                self._channels[event.channel].drained = True
                continue
            channel = self._channels[event.channel]
            if isinstance(event, Interim):
                channel.pause = timed.spoken if event.paused else None
            if self._turns and isinstance(event, Interim | Final):
                event = channel.judge(event, self._turns)
            # A final that filters held back may be sent with any event.
            if self._spec.incremental and (isinstance(event, Final) or self._chain is not None):
                self._costs = True
            yield (event,)
            self._measure(channel, timed)

    async def _complete(self, events: tuple[Output, ...]) -> tuple[Output, ...]:
        return events if self._covering is None else await self._covering.follow(events)

    def _measure(self, channel: InputChannel, timed: TimedEvent) -> None:
        """Measure how late the event was, after the transport took it."""
        if not self.live:
            return
        measured = channel.measure(timed, self._services.clock.now_ns(), self._spec.interims)
        if measured is not None:
            self._services.observer.utterance(measured, self.call.principal.project, self._engine)

    async def _pay(self, events: tuple[Output, ...]) -> None:
        for event in events:
            if isinstance(event, Final) and self._spec.incremental:
                # A recording's price is known, so its first result pays for all, even if the caller leaves after it.
                amounts = {Meter(Dimension.STT_AUDIO_MS, event.channel): event.end_ms}
                await self._account.charge(amounts if self.live else self._lengths())
        if isinstance(events[-1], Closed):
            lengths = self._lengths()  # the results may not have covered everything
            await self._account.charge(lengths)
            if not self.live:
                took_ms = (self._services.clock.now_ns() - self._opened_ns) / NS_PER_MS
                self._services.observer.recording(took_ms, sum(lengths.values()))
            self._outcome = EntryKind.COMPLETED

    def _closed(self) -> Closed:
        """Return the totals."""
        lengths = self._lengths()
        return Closed(max(lengths.values(), default=0), max(1, len(lengths)), self._sha256.hexdigest())

    def _lengths(self) -> dict[Meter, int]:
        """Return the milliseconds of each channel's audio."""
        lengths, recorded_ms = lengths_ms(self._channels), self._recording_ms
        return lengths if recorded_ms is None else dict.fromkeys(lengths, recorded_ms)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _owed(self) -> dict[Meter, int]:
        """Return the amounts to pay. A live caller who left early, or whose own error ended the session, pays for what
        was heard; if the server is at fault, only what was delivered is charged.
        """
        theirs = self._error is None or isinstance(self._error, CallerError | PolicyError)
        if not self.live or not theirs:
            return {}
        time = {Meter(Dimension.STT_SESSION_MS): self._charged_open_ms} if self._spec.charges_time else {}
        return self._lengths() | time

    async def _free(self) -> None:
        self._ended = True
        if self._draining:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        for listener in self._listeners:
            listener.cancel()
        async with AsyncExitStack() as stack:  # whichever of them fails, the others are freed
            stack.callback(self._held.give_back)
            if self._decoder:
                stack.callback(self._decoder.close)
            for channel in self._channels:
                stack.push_async_callback(channel.stream.close)

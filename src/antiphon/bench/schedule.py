"""What each stream sends, and when. Pure, and computed in full before the first byte is sent.

A stream plays all clips in an order shuffled for each round, from a seed of the stream's, each followed by a quarter of
its length in silence, at least 0.6 s: about 80 % speech, with pauses in which any endpointing of up to 500 ms ends the
utterance. Streams start at different places of one cycle, so mostly within a clip.

A chunk is sent when its last sample would have been recorded, by an absolute schedule that never drifts; streams are
spread evenly within a chunk's length so that they do not send at the same moment.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from antiphon.bench.clips import Clip
from antiphon.bench.speech import Span
from antiphon.core.audio import BYTES_PER_SAMPLE, SAMPLE_RATE, ms_to_samples
from antiphon.core.units import NS_PER_S

GAP_SHARE = 0.25
MIN_GAP_SAMPLES = ms_to_samples(600)
# An utterance this close to the end of a stream is not judged: the close would cause its final, not the pause.
UNJUDGED_TAIL_SAMPLES = ms_to_samples(1500)


@dataclass(frozen=True, slots=True)
class Play:
    """One playing of a clip, from this sample of the stream on; a negative one means that it began before."""

    clip: Clip
    start: int

    @property
    def end(self) -> int:
        """Where its gap of silence ends and the next clip begins."""
        return self.start + self.clip.samples + gap_samples(self.clip)

    @property
    def window(self) -> Span:
        return Span(self.start, self.end)

    def utterances(self) -> list[Span]:
        return [Span(self.start + span.start, self.start + span.end) for span in self.clip.utterances]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that one stream sends. `phase_ns` is its place within a chunk's length; `samples` is where it closes."""

    plays: tuple[Play, ...]
    samples: int
    chunk_samples: int
    phase_ns: int

    @property
    def chunk_ns(self) -> int:
        return self.chunk_samples * NS_PER_S // SAMPLE_RATE

    @property
    def chunks(self) -> int:
        """The number of chunks that it sends; the last may be short."""
        return -(-self.samples // self.chunk_samples)

    def sent_ns(self, sample: int) -> int:
        """Return when the chunk with that sample is sent, from the start of the level."""
        return self.phase_ns + (sample // self.chunk_samples + 1) * self.chunk_ns

    def judged(self, span: Span) -> bool:
        """Return whether all of it was sent, and enough silence after it to cause its final."""
        return span.start >= 0 and span.end + UNJUDGED_TAIL_SAMPLES <= self.samples


def gap_samples(clip: Clip) -> int:
    return max(round(clip.samples * GAP_SHARE), MIN_GAP_SAMPLES)


def plan_streams(clips: Sequence[Clip], streams: int, *, samples: int, chunk_samples: int, seed: int = 0) -> list[Plan]:
    """Return a plan for each stream, of `samples` each. The same arguments give the same plans."""
    cycle = sum(clip.samples + gap_samples(clip) for clip in clips) // len(clips)
    chunk_ns = chunk_samples * NS_PER_S // SAMPLE_RATE
    # Neighbours in the cycle are not neighbours in the chunk, so that a stream's load and its phase are independent.
    places = random.Random(seed).sample(range(streams), streams)
    return [
        Plan(
            plays=tuple(_plays(clips, random.Random(f"{seed}/{index}"), -(cycle * places[index] // streams), samples)),
            samples=samples,
            chunk_samples=chunk_samples,
            phase_ns=chunk_ns * index // streams,
        )
        for index in range(streams)
    ]


def _plays(clips: Sequence[Clip], rng: random.Random, start: int, samples: int) -> Iterator[Play]:
    while start < samples:
        for clip in rng.sample(clips, len(clips)):
            if start >= samples:
                return
            play = Play(clip, start)
            if play.end > 0:
                yield play
            start = play.end


def chunks(plan: Plan) -> Iterator[bytes]:
    """Yield the stream's audio, `chunk_samples` at a time; the last chunk may be short."""
    size = plan.chunk_samples * BYTES_PER_SAMPLE
    left = plan.samples * BYTES_PER_SAMPLE
    pending = bytearray()
    for piece in _pieces(plan):
        view = memoryview(piece)
        while view and left:
            if not pending and len(view) >= size and left >= size:
                yield bytes(view[:size])
                view, left = view[size:], left - size
                continue
            take = min(size - len(pending), len(view), left - len(pending))
            pending += view[:take]
            view = view[take:]
            if len(pending) in (size, left):
                yield bytes(pending)
                left -= len(pending)
                pending.clear()


def _pieces(plan: Plan) -> Iterator[bytes]:
    at = 0
    for play in plan.plays:
        yield bytes(max(play.start - at, 0) * BYTES_PER_SAMPLE)
        yield play.clip.pcm[max(-play.start, 0) * BYTES_PER_SAMPLE :]
        at = max(play.start + play.clip.samples, 0)
    yield bytes(max(plan.samples - at, 0) * BYTES_PER_SAMPLE)

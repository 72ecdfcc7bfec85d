"""Moonshine tiny-en on onnxruntime: speech to text on a CPU, for ragged batches.

Rules:

- Blocking, thread-safe, no state between calls. Every graph runs only on the caller's thread, without the interpreter's
  lock, so that two callers use two cores.
- A row's text does not depend on its neighbours; a batch only shares the loading of weights into caches.
- The draft (the last hypothesis of the same utterance) is verified in one pass, and its longest agreeing prefix kept.
  Exact: the result is that of greedy decoding alone.
- Loops, and text longer than speech can be, are cut (`transcript`), at the same token with a draft and without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.core.capabilities import SpeechCapabilities
from antiphon.core.errors import EngineError
from antiphon.core.events import Word
from antiphon.core.ports import Hypothesis, Utterance
from antiphon.engines import alignment, transcript
from antiphon.engines import moonshine_graphs as graphs
from antiphon.engines.moonshine_weights import Array, multiplies_int8, read_weights

# Shorter audio is padded with silence: for a word or two, cut closely, the model writes other words, or the same twice.
_SHORT_SAMPLES = 24_000
_SILENCE_MS = 100
# Longer audio should be cut at its pauses; beyond this there are no positions.
MOST_SAMPLES = 40 * 16_000
# How many draft tokens may be skipped after a mismatch.
_REACH = 4


@dataclass(slots=True)
class _Row:
    """One utterance in the decoder.

    `slot` is its place in the batch's buffers. `tokens` begin with the `prefix` that they follow. `queries` (most + 2,
    HEAD_SIZE) are, by position, the queries of the head that follows the audio; `keys` (frames, HEAD_SIZE) its keys.
    """

    slot: int
    prefix: tuple[int, ...]
    draft: tuple[int, ...]
    most: int
    queries: Array
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)  # of those after the prefix
    keys: Array | None = None
    anchor: int = 0
    accepted: int = 0
    steps: int = 0
    looped: bool = False
    done: bool = False

    @property
    def past(self) -> int:
        """The number of its tokens that have been read."""
        return len(self.tokens) if self.steps else 0

    def feed(self) -> tuple[int, ...]:
        """Return the next tokens to read: the last token, and what may follow it by the draft.

        The first pass reads the prefix and the whole draft. After a mismatch, it is one token from where the draft
        seems to continue.
        """
        if not self.steps:
            return (transcript.START, *self.prefix, *self.draft)
        return (self.tokens[-1], *self.draft[self.anchor : self.anchor + 1])

    def take(self, feed: tuple[int, ...], best: list[int], logprobs: list[float]) -> None:
        """Keep the tokens of the pass over `feed` while they agree with it, and the first that does not."""
        begin = 0 if self.steps else len(self.prefix)
        self.steps += 1
        if begin:
            self.tokens += self.prefix
        for i, token in enumerate(best[begin:], begin):
            if token == transcript.END:
                self.done = True
                return
            self.tokens.append(token)
            self.logprobs.append(logprobs[i])
            full = len(self.tokens) == self.most
            own = self.tokens[len(self.prefix) :]
            cut = transcript.loop_start(own, full=full)
            if full or cut is not None:
                cut = len(own) if cut is None else cut
                del self.tokens[len(self.prefix) + cut :], self.logprobs[cut:]
                self.looped = self.done = True
                return
            near = self.draft[self.anchor : self.anchor + _REACH]
            self.anchor += near.index(token) + 1 if token in near else 1
            if i + 1 == len(feed) or token != feed[i + 1]:
                return
            self.accepted += 1


class Moonshine:
    """Implements `core.ports.Recogniser` and `Aligner`. The folder contains the published `encoder_model.ort`,
    `decoder_model_merged.ort` and `tokenizer.bin`.

    Without `speculative`, drafts are ignored; without `batched`, rows run one by one. Both give the same text, slower.
    """

    def __init__(self, folder: Path, *, speculative: bool = True, batched: bool = True) -> None:
        signed = multiplies_int8()
        try:
            self._vocabulary = transcript.read_vocabulary(folder / "tokenizer.bin")
            # Of a letter that is also there as a byte, the later token is the letter's.
            self._ids = {piece: token for token, piece in enumerate(self._vocabulary) if piece}
            encoder, decoder = (
                read_weights(folder / f"{part}.ort") for part in ("encoder_model", "decoder_model_merged")
            )
        except OSError as error:
            raise EngineError("the model's files are missing") from error
        self._encoder = _session(graphs.encoder(encoder, signed=signed))
        self._memory = _session(graphs.memory(decoder, signed=signed))
        kept = np.array(transcript.latin(self._vocabulary, graphs.BLOCK))
        self._decoder = _session(graphs.decoder(decoder, kept, signed=signed))
        self._speculative = speculative
        self._batched = batched

    @property
    def capabilities(self) -> SpeechCapabilities:
        """The model's languages: English only."""
        return SpeechCapabilities()

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order. Raises `EngineError`."""
        if not self._batched and len(batch) > 1:
            return [self.recognise([utterance])[0] for utterance in batch]
        if not batch:
            return []
        rows = []
        for slot, utterance in enumerate(batch):
            samples = len(utterance.pcm) // 2
            if len(utterance.pcm) % 2 or samples > MOST_SAMPLES:
                raise EngineError(f"an utterance holds whole samples, at most {MOST_SAMPLES}")
            prefix = utterance.prefix
            most = max(transcript.most_tokens(samples), len(prefix) + transcript.SPARE_TOKENS)
            queries = np.zeros((most + 2, graphs.HEAD_SIZE), np.float32)
            draft = utterance.draft[: most - len(prefix) - 1] if self._speculative else ()
            rows.append(_Row(slot, prefix, draft, most, queries))
        try:
            self._decode(rows, [self._encode(utterance.pcm) for utterance in batch])
        except Exception as error:  # onnxruntime raises RuntimeError and its own plain exceptions
            raise EngineError("the model failed on these utterances") from error
        return [self._hypothesis(row, utterance) for row, utterance in zip(rows, batch, strict=True)]

    def align(self, pcm: bytes, words: Sequence[str]) -> list[tuple[int, int]]:
        """Return when each word is spoken, in milliseconds: see `core.ports.Aligner`. Raises `EngineError`."""
        if len(pcm) % 2 or len(pcm) // 2 > MOST_SAMPLES:
            raise EngineError(f"an utterance holds whole samples, at most {MOST_SAMPLES}")
        spans: list[tuple[int, int]] = []
        tokens: list[int] = []
        for word in words:
            spelled = transcript.to_tokens(f" {word}", self._ids)
            spans.append((len(tokens), len(tokens) + len(spelled)))
            tokens += spelled
        try:
            frames = self._encode(pcm)
            caches = _Caches(self._memory, self._decoder, [frames], len(tokens) + 2)
            queries = caches.run([0], [0], [(transcript.START, *tokens)])[2]
        except Exception as error:  # onnxruntime raises RuntimeError and its own plain exceptions
            raise EngineError("the model failed on this utterance") from error
        return _placed(queries[1:], caches.keys(0), spans, pcm)

    def _encode(self, pcm: bytes) -> Array:
        samples, _ = _surrounded(pcm)
        whole = (len(samples) - graphs.EDGE_SAMPLES) // graphs.HOP_SAMPLES * graphs.HOP_SAMPLES
        frames: Array = self._encoder.run(None, {"pcm": samples[: whole + graphs.EDGE_SAMPLES]})[0][0]
        return frames

    def _decode(self, rows: list[_Row], frames: list[Array]) -> None:
        room = max(row.most for row in rows) + 2
        caches = _Caches(self._memory, self._decoder, frames, room)
        live = rows
        while live:
            feeds = [row.feed() for row in live]
            past = [row.past for row in live]
            best, logprobs, queries = caches.run([row.slot for row in live], past, feeds)
            at = 0
            for row, start, feed in zip(live, past, feeds, strict=True):
                end = at + len(feed)
                row.queries[start : start + len(feed)] = queries[at:end]
                row.take(feed, best[at:end], logprobs[at:end])
                if row.done:
                    row.keys = caches.keys(row.slot)
                at = end
            live = [row for row in live if not row.done]
            if live and len(live) <= caches.rows // 2:
                caches.keep([row.slot for row in live])
                for slot, row in enumerate(live):
                    row.slot = slot

    def _hypothesis(self, row: _Row, utterance: Utterance) -> Hypothesis:
        begin = len(row.prefix)
        whole = transcript.to_pieces(row.tokens, self._vocabulary)
        pieces = transcript.following(whole, begin)
        spans = transcript.word_spans(whole)
        times = _times(row, spans, utterance.pcm) if utterance.timed else [(0, 0)] * len(spans)
        words = tuple(
            Word(text, *time, transcript.confidence(row.logprobs[own:][: end - begin - own]))
            for (start, end), time in zip(spans, times, strict=True)
            if (text := "".join(pieces[(own := max(0, start - begin)) : max(0, end - begin)]).strip())
        )
        return Hypothesis(
            text="".join(pieces).strip(),
            words=words,
            confidence=transcript.confidence(row.logprobs),
            tokens=tuple(row.tokens[begin:]),
            pieces=pieces,
            logprobs=tuple(row.logprobs),
            accepted=row.accepted,
            steps=row.steps,
            looped=row.looped,
            language="en",
        )


def _surrounded(pcm: bytes) -> tuple[NDArray[np.int16], int]:
    """Return the samples for the model, and how many milliseconds of silence precede the utterance."""
    samples = np.frombuffer(pcm, "<i2")
    if len(samples) >= _SHORT_SAMPLES:
        return samples, 0
    return np.pad(samples, _SILENCE_MS * 16), _SILENCE_MS


def _times(row: _Row, spans: list[tuple[int, int]], pcm: bytes) -> list[tuple[int, int]]:
    if row.keys is None:
        raise EngineError("times are known only of a finished row")
    return _placed(row.queries[1 : len(row.tokens) + 1], row.keys, spans, pcm)


def _placed(queries: Array, keys: Array, spans: list[tuple[int, int]], pcm: bytes) -> list[tuple[int, int]]:
    """Return each span's (start, end) in milliseconds; `queries` has a row for each token."""
    weights = alignment.attention(queries, keys)
    samples, lead_ms = _surrounded(pcm)
    silent = alignment.quiet_frames(samples, len(keys))
    last_ms = len(pcm) // 32

    def inside(at_ms: int) -> int:
        return min(max(0, at_ms - lead_ms), last_ms)

    return [(inside(start), inside(end)) for start, end in alignment.word_times(weights, spans, silent)]


class _Caches:
    """The keys and values of one batch, and the bindings with which the decoder extends them in place."""

    def __init__(self, memory: Any, decoder: Any, frames: list[Array], room: int) -> None:
        self._decoder = decoder
        self.rows = len(frames)
        self._lengths = np.array([len(row) for row in frames])
        padded = np.zeros((self.rows, self._lengths.max(), graphs.WIDTH), np.float32)
        for i, row in enumerate(frames):
            padded[i, : len(row)] = row
        self._names = [output.name for output in memory.get_outputs()]
        self._memory: list[Array] = memory.run(self._names, {"frames": padded})
        self._own = [np.zeros((self.rows, room, graphs.WIDTH), np.float32) for _ in self._names]
        self._bind()

    def _bind(self) -> None:
        self._binding = self._decoder.io_binding()
        self._held: dict[str, Any] = {}
        self._input("lengths", self._lengths)
        for name, memory, own in zip(self._names, self._memory, self._own, strict=True):
            self._input(name, memory)
            self._binding.bind_ortvalue_output(f"n{name}", self._input(f"p{name}", own))

    def _input(self, name: str, value: Array) -> Any:
        from onnxruntime import OrtValue

        # It shares the array's memory; only the Python object keeps the array, and the binding does not keep that.
        self._held[name] = OrtValue.ortvalue_from_numpy(value)
        self._binding.bind_ortvalue_input(name, self._held[name])
        return self._held[name]

    def run(
        self, slots: list[int], past: list[int], feeds: list[tuple[int, ...]]
    ) -> tuple[list[int], list[float], Array]:
        """Return the best next token after every one in `feeds`, its log-probability, and the queries of `feeds`."""
        # A single query would use a kernel that rounds differently, and a draft would no longer be exact.
        widest = max(2, *(len(feed) for feed in feeds))
        earlier = np.zeros(self.rows, np.int64)
        earlier[slots] = past
        sources = np.zeros((self.rows, widest), np.int64)
        at = 0
        for slot, feed in zip(slots, feeds, strict=True):
            sources[slot, : len(feed)] = range(at, at + len(feed))
            at += len(feed)
        cells = [(slot, i) for slot, feed in zip(slots, feeds, strict=True) for i in range(len(feed))]
        for name, value in (
            ("tokens", np.array([token for feed in feeds for token in feed])),
            ("positions", earlier[:, None] + np.arange(widest)),
            ("cells", np.array(cells)),
            ("sources", sources),
            ("past", earlier),
            ("wanted", np.arange(at)),
        ):
            self._input(name, value)
        for name in ("best", "logprob", "query"):
            self._binding.bind_output(name)
        self._decoder.run_with_iobinding(self._binding)
        best, logprobs, queries = (output.numpy() for output in self._binding.get_outputs()[-3:])
        return best.tolist(), logprobs.tolist(), queries

    def keys(self, slot: int) -> Array:
        """Return a row's keys of the head that follows the audio, (frames, HEAD_SIZE)."""
        keys = self._memory[self._names.index(f"k{graphs.FOLLOWING_LAYER}")]
        return keys[slot, graphs.FOLLOWING_HEAD, : self._lengths[slot]].copy()

    def keep(self, slots: list[int]) -> None:
        """Drop all other rows."""
        self.rows = len(slots)
        self._lengths = self._lengths[slots]
        longest = self._lengths.max()
        self._memory = [value[slots, :, :longest] for value in self._memory]
        self._own = [value[slots] for value in self._own]
        self._bind()


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

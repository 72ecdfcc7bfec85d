"""Moonshine tiny-en on onnxruntime: speech to text on a CPU, for ragged batches.

Rules:
- Blocking, thread-safe, no state between calls. Every graph runs on the caller's thread alone, without the
  interpreter's lock, so that two callers use two cores.
- A row's text does not depend on its neighbours; a batch only shares the weights' way through the caches.
- The draft (the last hypothesis of the same utterance) is verified in one pass and its longest agreeing prefix kept.
  Exact: the result is what greedy decoding alone gives.
- What runs in a circle, or longer than speech can be, is cut (`transcript`), after the same token with a draft and
  without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.core.errors import EngineError
from antiphon.core.events import Word
from antiphon.core.ports import Hypothesis, Utterance
from antiphon.engines import moonshine_graphs as graphs
from antiphon.engines import transcript
from antiphon.engines.moonshine_weights import Array, multiplies_int8, read_weights

# Anything shorter is followed by silence: the model was not trained on less.
_LEAST_SAMPLES = graphs.EDGE_SAMPLES + 4 * graphs.HOP_SAMPLES
# Longer audio belongs cut at its pauses; beyond this the positions end.
MOST_SAMPLES = 40 * 16_000


@dataclass(slots=True)
class _Row:
    """One utterance on its way through the decoder."""

    samples: int
    draft: tuple[int, ...]
    most: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    accepted: int = 0
    steps: int = 0
    looped: bool = False
    done: bool = False

    def take(self, best: list[int], logprobs: list[float], draft: tuple[int, ...] = ()) -> None:
        """Keeps what one pass gave: tokens while they agree with the draft, and the first that does not."""
        self.steps += 1
        for i, token in enumerate(best):
            if token == transcript.END:
                self.done = True
                return
            self.tokens.append(token)
            self.logprobs.append(logprobs[i])
            cut = transcript.loop_start(self.tokens)
            if cut is not None or len(self.tokens) == self.most:
                del self.tokens[cut or self.most :], self.logprobs[cut or self.most :]
                self.looped = self.done = True
                return
            if i == len(draft) or token != draft[i]:
                return
            self.accepted += 1


class Moonshine:
    """Implements `core.ports.Recogniser`. The folder holds the published `encoder_model.ort`,
    `decoder_model_merged.ort` and `tokenizer.bin`.

    Without `speculative` drafts are ignored; without `batched` rows run one by one. Both give the same text, slower.
    """

    def __init__(self, folder: Path, *, speculative: bool = True, batched: bool = True) -> None:
        signed = multiplies_int8()
        self._vocabulary = transcript.read_vocabulary(folder / "tokenizer.bin")
        self._encoder = _session(graphs.encoder(read_weights(folder / "encoder_model.ort"), signed=signed))
        weights = read_weights(folder / "decoder_model_merged.ort")
        self._memory = _session(graphs.memory(weights, signed=signed))
        self._decoder = _session(graphs.decoder(weights, signed=signed))
        self._speculative = speculative
        self._batched = batched

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        """One hypothesis per utterance, in order. Raises `EngineError`."""
        if not self._batched and len(batch) > 1:
            return [self.recognise([utterance])[0] for utterance in batch]
        if not batch:
            return []
        rows = []
        for utterance in batch:
            samples = len(utterance.pcm) // 2
            if len(utterance.pcm) % 2 or samples > MOST_SAMPLES:
                raise EngineError(f"an utterance holds whole samples, at most {MOST_SAMPLES}")
            most = transcript.most_tokens(samples)
            rows.append(_Row(samples, utterance.draft[: most - 1] if self._speculative else (), most))
        frames = [self._encode(utterance.pcm) for utterance in batch]
        self._decode(rows, frames)
        return [self._hypothesis(row, utterance) for row, utterance in zip(rows, batch, strict=True)]

    def _encode(self, pcm: bytes) -> Array:
        samples = np.frombuffer(pcm, "<i2")
        if len(samples) < _LEAST_SAMPLES:
            samples = np.pad(samples, (0, _LEAST_SAMPLES - len(samples)))
        whole = (len(samples) - graphs.EDGE_SAMPLES) // graphs.HOP_SAMPLES * graphs.HOP_SAMPLES
        frames: Array = self._encoder.run(None, {"pcm": samples[: whole + graphs.EDGE_SAMPLES]})[0][0]
        return frames

    def _decode(self, rows: list[_Row], frames: list[Array]) -> None:
        caches = _Pass(self._memory, self._decoder, frames, room=max(row.most for row in rows) + 1)
        width = 1 + max(len(row.draft) for row in rows)
        tokens = np.zeros((len(rows), width), np.int64)
        tokens[:, 0] = transcript.START
        wanted: list[int] = []
        for i, row in enumerate(rows):
            tokens[i, 1 : 1 + len(row.draft)] = row.draft
            wanted += range(i * width, i * width + len(row.draft) + 1)
        best, logprobs = caches.run(tokens, np.full(len(rows), width - 1, np.int32), wanted)
        at = 0
        for row in rows:
            end = at + len(row.draft) + 1
            row.take(best[at:end], logprobs[at:end], row.draft)
            at = end
        live = list(rows)
        while True:
            keep = [i for i, row in enumerate(live) if not row.done]
            if not keep:
                return
            if len(keep) <= len(live) // 2:
                caches.keep(keep)
                live = [live[i] for i in keep]
            last = np.array([len(row.tokens) for row in live], np.int32)
            tokens = np.array([[row.tokens[-1] if row.tokens else transcript.END] for row in live], np.int64)
            best, logprobs = caches.run(tokens, last, range(len(live)))
            for i, row in enumerate(live):
                if not row.done:
                    row.take(best[i : i + 1], logprobs[i : i + 1])

    def _hypothesis(self, row: _Row, utterance: Utterance) -> Hypothesis:
        pieces = transcript.to_pieces(row.tokens, self._vocabulary)
        duration_ms = row.samples // 16
        total = len(row.tokens)
        words = tuple(
            Word(
                "".join(pieces[start:end]).strip(),
                duration_ms * start // total if utterance.timed else 0,
                duration_ms * end // total if utterance.timed else 0,
                transcript.confidence(row.logprobs[start:end]),
            )
            for start, end in transcript.word_spans(pieces)
        )
        return Hypothesis(
            text="".join(pieces).strip(),
            words=words,
            confidence=transcript.confidence(row.logprobs),
            tokens=tuple(row.tokens),
            pieces=pieces,
            logprobs=tuple(row.logprobs),
            accepted=row.accepted,
            steps=row.steps,
            looped=row.looped,
        )


class _Pass:
    """The keys and values of one batch, and the bindings that let the decoder grow them in place."""

    def __init__(self, memory: Any, decoder: Any, frames: list[Array], *, room: int) -> None:
        self._decoder = decoder
        lengths = [len(row) for row in frames]
        padded = np.zeros((len(frames), max(lengths), graphs.WIDTH), np.float32)
        self._heard = np.zeros(padded.shape[:2], np.int32)
        for i, row in enumerate(frames):
            padded[i, : len(row)] = row
            self._heard[i, : len(row)] = 1
        self._names = [output.name for output in memory.get_outputs()]
        self._memory: list[Array] = memory.run(self._names, {"frames": padded})
        shape = (len(frames), graphs.HEADS, -(-room // 8) * 8, graphs.WIDE_HEAD)
        self._own = [np.zeros(shape, np.float32) for _ in self._names]
        self._bind()

    def _bind(self) -> None:
        self._binding = self._decoder.io_binding()
        self._held = [
            self._input("heard", self._heard),
            *(self._input(name, value) for name, value in zip(self._names, self._memory, strict=True)),
        ]
        for name, value in zip(self._names, self._own, strict=True):
            own = self._input(f"p{name}", value)
            self._binding.bind_ortvalue_output(f"n{name}", own)
            self._held.append(own)

    def _input(self, name: str, value: Array) -> Any:
        from onnxruntime import OrtValue

        held = OrtValue.ortvalue_from_numpy(value)
        self._binding.bind_ortvalue_input(name, held)
        return held

    def run(self, tokens: Array, last: Array, wanted: Sequence[int]) -> tuple[list[int], list[float]]:
        """The best next token after each wanted place (flat indices into `tokens`), and its log-probability."""
        longest = np.array(last.max() + 1, np.int32)
        for name, value in (
            ("tokens", tokens),
            ("last", last),
            ("longest", longest),
            ("wanted", np.fromiter(wanted, np.int64)),
        ):
            self._binding.bind_cpu_input(name, value)
        self._binding.bind_output("best")
        self._binding.bind_output("logprob")
        self._decoder.run_with_iobinding(self._binding)
        outputs = self._binding.get_outputs()
        return outputs[-2].numpy().tolist(), outputs[-1].numpy().tolist()

    def keep(self, rows: list[int]) -> None:
        """Forgets the other rows."""
        self._heard, self._memory, self._own = (
            self._heard[rows],
            [value[rows] for value in self._memory],
            [value[rows] for value in self._own],
        )
        self._bind()


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

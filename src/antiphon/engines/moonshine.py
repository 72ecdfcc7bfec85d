"""Moonshine tiny-en on onnxruntime: speech to text on a CPU.

Greedy decoding, and the draft (the last hypothesis of the same utterance) is verified in one pass, the longest
agreeing prefix kept. Exact: the result is what greedy decoding alone gives.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.core.errors import EngineError
from antiphon.core.events import Word
from antiphon.core.ports import Hypothesis, Utterance
from antiphon.engines import transcript

_LAYERS = 6
_HEADS = 8
_HEAD_SIZE = 36
_LEAST_SAMPLES = 1600


class Moonshine:
    """Implements `core.ports.Recogniser`."""

    def __init__(self, folder: Path, *, speculative: bool = True, batched: bool = True) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._encoder, self._decoder = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("encoder_model.ort", "decoder_model_merged.ort")
        )
        self._vocabulary = transcript.read_vocabulary(folder / "tokenizer.bin")
        self._speculative = speculative

    def recognise(self, batch: Sequence[Utterance]) -> list[Hypothesis]:
        """One hypothesis per utterance, in order."""
        return [self._one(utterance) for utterance in batch]

    def _one(self, utterance: Utterance) -> Hypothesis:
        if len(utterance.pcm) % 2:
            raise EngineError("an utterance holds whole samples")
        samples = np.frombuffer(utterance.pcm, "<i2").astype(np.float32) / 32768
        samples = np.pad(samples, (0, max(0, _LEAST_SAMPLES - len(samples))))[None]
        mask = np.ones(samples.shape, np.int64)
        hidden = self._encoder.run(None, {"input_values": samples, "attention_mask": mask})[0]
        cache: dict[str, Any] = {
            f"past_key_values.{layer}.{side}.{part}": np.zeros((1, _HEADS, 0, _HEAD_SIZE), np.float32)
            for layer in range(_LAYERS)
            for side in ("decoder", "encoder")
            for part in ("key", "value")
        }
        names = [output.name for output in self._decoder.get_outputs()]
        draft = list(utterance.draft) if self._speculative else []
        tokens: list[int] = []
        logprobs: list[float] = []
        feed, steps, accepted, looped = [transcript.START, *draft], 0, 0, False
        while not looped:
            out = self._decoder.run(
                None,
                {
                    "input_ids": np.array([feed], np.int64),
                    "encoder_attention_mask": mask,
                    "encoder_hidden_states": hidden,
                    "use_cache_branch": np.array([steps > 0]),
                    **cache,
                },
            )
            steps += 1
            logits = out[0][0]
            best = logits.argmax(1).tolist()
            peak = logits.max(1)
            gained = (-np.log(np.exp(logits - peak[:, None]).sum(1))).tolist()
            done = False
            kept = 0
            for i, token in enumerate(best):
                kept = i + 1
                if token == transcript.END:
                    done = True
                    break
                tokens.append(token)
                logprobs.append(gained[i])
                cut = transcript.loop_start(tokens)
                if cut is not None or len(tokens) >= transcript.most_tokens(samples.shape[1]):
                    tokens, logprobs = tokens[:cut], logprobs[:cut]
                    looped = True
                    break
                if i + 1 < len(feed) and feed[i + 1] != token:
                    break
            accepted += kept - 1
            if done or looped:
                break
            past = len(tokens)
            for name, value in zip(names[1:], out[1:], strict=True):
                key = name.replace("present", "past_key_values")
                if "decoder" in name:
                    cache[key] = value[:, :, :past]
                elif steps == 1:
                    cache[key] = value
            feed = tokens[-1:]
        return self._hypothesis(utterance, tokens, logprobs, accepted, steps, looped)

    def _hypothesis(
        self, utterance: Utterance, tokens: list[int], logprobs: list[float], accepted: int, steps: int, looped: bool
    ) -> Hypothesis:
        pieces = transcript.to_pieces(tokens, self._vocabulary)
        duration_ms = len(utterance.pcm) // 32
        words = tuple(
            Word(
                "".join(pieces[start:end]).strip(),
                duration_ms * start // len(tokens) if utterance.timed else 0,
                duration_ms * end // len(tokens) if utterance.timed else 0,
                transcript.confidence(logprobs[start:end]),
            )
            for start, end in transcript.word_spans(pieces)
        )
        return Hypothesis(
            "".join(pieces).strip(),
            words,
            transcript.confidence(logprobs),
            tuple(tokens),
            pieces,
            tuple(logprobs),
            accepted,
            steps,
            looped,
        )

"""Whisper's process: batches in, one report for each. No text of a caller leaves through an exception or a log.

The encoder is given ten seconds or more, and not half a minute, as Whisper was trained: a quarter of the work, and as
few wrong words; with less than that it begins to say things twice. Audio is filled with silence to whole steps of
length, and only rows of one length run together, so that no row's text depends on its neighbours.
"""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.children import NICENESS
from antiphon.core.audio import SAMPLE_RATE
from antiphon.engines import transcript
from antiphon.engines.process import Unloadable, beating
from antiphon.engines.whisper.messages import (
    Failed,
    Load,
    Ready,
    Recognise,
    Recognised,
    Result,
    Row,
    command_decoder,
)
from antiphon.engines.worker import Link, reason, run

MISSING = "faster-whisper is not installed: pip install 'antiphon[whisper]'"
LEAST = 10 * SAMPLE_RATE  # samples that the encoder is given
STEP = 5 * SAMPLE_RATE  # by which they grow
SILENCE = SAMPLE_RATE  # behind the speech, at least
MOST = 30 * SAMPLE_RATE
TIME_MS = 20  # of a place in the encoder's output
NO_SPEECH, UNLIKELY = 0.6, -1.0  # Whisper's own rule for what is no speech


class Model:
    """One loaded model, for several threads."""

    def __init__(self, load: Load) -> None:
        import ctranslate2
        import tokenizers
        from faster_whisper.feature_extractor import FeatureExtractor
        from faster_whisper.tokenizer import Tokenizer

        folder = Path(load.path)
        self._array = ctranslate2.StorageView.from_array
        self._model: Any = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", inter_threads=load.workers, intra_threads=1
        )
        self._multilingual = bool(self._model.is_multilingual)
        self._tokens = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._features = FeatureExtractor(feature_size=self._model.n_mels)
        self._language = load.language
        if load.language not in ("", "en") and not self._multilingual:
            raise ValueError(f"it hears English only, and not {load.language!r}")
        self._make_tokenizer: Any = Tokenizer
        suppressed = json.loads((folder / "config.json").read_text()).get("suppress_ids", [])
        self._suppressed = [-1, *suppressed]

    def recognise(self, rows: tuple[Row, ...]) -> tuple[Result, ...]:
        results: dict[int, Result] = {}
        for length, group in groupby(
            sorted(range(len(rows)), key=lambda n: _length(rows[n])), lambda n: _length(rows[n])
        ):
            numbers = list(group)
            together = self._recognise([rows[n] for n in numbers], length)
            results.update(zip(numbers, together, strict=True))
        return tuple(results[n] for n in range(len(rows)))

    def _recognise(self, rows: list[Row], length: int) -> list[Result]:
        audio = np.zeros((len(rows), length), np.float32)
        for place, row in enumerate(rows):
            samples = np.frombuffer(row.pcm, "<i2")[:length]
            audio[place, : len(samples)] = samples.astype(np.float32) / 32768
        frames = length * 100 // SAMPLE_RATE
        features = np.stack([self._features(samples)[:, :frames] for samples in audio])
        encoded = self._model.encode(self._array(np.ascontiguousarray(features)))
        results = []
        tokenizers = [
            self._make_tokenizer(self._tokens, self._multilingual, "transcribe", language)
            for language in self._languages(encoded, len(rows))
        ]
        starts = [[*each.sot_sequence, each.no_timestamps] for each in tokenizers]
        prompts = [[*start, *row.prefix] for start, row in zip(starts, rows, strict=True)]
        most = max(
            transcript.most_tokens(len(row.pcm) // 2) + len(prompt) for row, prompt in zip(rows, prompts, strict=True)
        )
        generated = self._model.generate(
            encoded,
            prompts,
            beam_size=1,
            return_scores=True,
            return_no_speech_prob=True,
            max_length=most + transcript.SPARE_TOKENS,
            suppress_tokens=self._suppressed,
        )
        texts = []
        for row, each, tokenizer in zip(rows, generated, tokenizers, strict=True):
            tokens = [token for token in each.sequences_ids[0] if token < tokenizer.eot]
            silent = each.no_speech_prob > NO_SPEECH and each.scores[0] < UNLIKELY
            full = len(tokens) >= transcript.most_tokens(len(row.pcm) // 2)
            begin = len(row.prefix)  # the library gives that back, too
            own = tokens[begin:]
            cut = transcript.loop_start(own, full=full)
            texts.append((tokens[:begin], [] if silent else own if cut is None else own[:cut], cut is not None))
        for place, (prefix, tokens, looped) in enumerate(texts):
            results.append(self._result(encoded, place, tokenizers[place], prefix, tokens, looped, length))
        return results

    def _languages(self, encoded: Any, rows: int) -> list[str]:
        if not self._multilingual:
            return ["en"] * rows
        if self._language:
            return [self._language] * rows
        return [found[0][0].strip("<|>") for found in self._model.detect_language(encoded)]

    def _result(
        self, encoded: Any, place: int, tokenizer: Any, prefix: list[int], own: list[int], looped: bool, length: int
    ) -> Result:
        """Of a row's `own` tokens, which stand in its audio behind those of its `prefix`."""
        if not own:
            return Result((), (), (), (), (), looped)
        tokens, first = prefix + own, len(prefix)
        heard = self._array(np.ascontiguousarray(np.array(encoded)[place : place + 1]))
        (aligned,) = self._model.align(heard, tokenizer.sot_sequence, [tokens], [length * 50 // SAMPLE_RATE])
        starts: dict[int, int] = {}
        for token, time in aligned.alignments:
            starts.setdefault(token, time * TIME_MS)
        last = aligned.alignments[-1][1] * TIME_MS if aligned.alignments else 0
        begins = [starts.get(n, last) for n in range(len(tokens) + 1)]
        logprobs = tuple(log(max(probability, 1e-9)) for probability in aligned.text_token_probs[: len(tokens)])
        pieces, said = [], ""
        for n in range(1, len(tokens) + 1):
            text = self._tokens.decode(tokens[:n])
            text = said if text.endswith("\ufffd") and n < len(tokens) else text
            pieces.append(text[len(said) :])
            said = text
        starts_ms, ends_ms = tuple(begins[first:-1]), tuple(begins[first + 1 :])
        return Result(tuple(own), transcript.following(pieces, first), logprobs[first:], starts_ms, ends_ms, looped)


def _length(row: Row) -> int:
    """With how much silence behind it a row runs."""
    return min(MOST, max(LEAST, -(-(len(row.pcm) // 2 + SILENCE) // STEP) * STEP))


def serve(sock: socket.socket) -> None:
    """Until the server is gone."""
    link = Link(sock, command_decoder.decode)
    commands = link.commands()
    load = next(commands, None)
    if not isinstance(load, Load):
        return
    try:
        with beating(link.beat):
            model = Model(load)
            model.recognise((Row(bytes(2 * SAMPLE_RATE), ()),))  # the first run allocates
    except ModuleNotFoundError as error:
        link.send(Unloadable(MISSING if error.name in ("faster_whisper", "ctranslate2") else str(error)))
        return
    except Exception as error:
        link.send(Unloadable(reason(error)))
        return
    link.send(Ready())

    def answer(command: Recognise) -> None:
        try:
            report: Recognised | Failed = Recognised(command.number, model.recognise(command.rows))
        except Exception:  # of whatever the audio has set off in a vendor's library
            report = Failed(command.number)
        try:
            link.send(report)
        except OSError:
            return  # the server is gone, and the process about to end

    with ThreadPoolExecutor(load.workers) as workers:
        for command in commands:
            if isinstance(command, Recognise):
                workers.submit(answer, command)


if __name__ == "__main__":
    run(serve, NICENESS)

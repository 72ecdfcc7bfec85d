"""Whisper's process: batches in, one report for each. No text of a caller may leave through an exception or a log.

The encoder gets ten seconds or more, not half a minute as in Whisper's training: a quarter of the work, with no more
wrong words; with less, it begins to repeat. Audio is padded with silence to whole steps of length, and only rows of one
length run together, so that no row's text depends on its neighbours.
"""

import json
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from math import log
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from antiphon.core import languages
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
LEAST = 10 * SAMPLE_RATE  # samples for the encoder
STEP = 5 * SAMPLE_RATE  # in which they grow
SILENCE = SAMPLE_RATE  # after the speech, at least
MOST = 30 * SAMPLE_RATE
TIME_MS = 20  # of a position in the encoder's output
NO_SPEECH, UNLIKELY = 0.6, -1.0  # Whisper's own rule for silence
# In scripts other than Latin, a token is a letter, or less.
TOKENS_PER_SECOND = 25.0
MOST_TOKENS = 448  # the decoder's positions, of which text before may take half
MOST_BEFORE = 223
OWN_CODES = {"jv": "jw"}  # codes of Whisper that differ from BCP 47


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
        self._codes = self._known(languages.NAMES)
        if load.language and languages.match_language(load.language, self._codes) is None:
            raise ValueError(f"it does not hear {load.language!r}, only {', '.join(sorted(self._codes))}")
        self._make_tokenizer: Any = Tokenizer
        self._end: Any = self._tokens.token_to_id("<|endoftext|>")
        self._previous: Any = self._tokens.token_to_id("<|startofprev|>")
        suppressed = json.loads((folder / "config.json").read_text()).get("suppress_ids", [])
        self._suppressed = [-1, *suppressed]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it recognises (BCP 47)."""
        return tuple(sorted(self._codes))

    def _known(self, names: Iterable[str]) -> dict[str, str]:
        """Return its own codes, by those of BCP 47."""
        if not self._multilingual:
            return {"en": "en"}
        codes = {name: OWN_CODES.get(name, name) for name in names}
        return {name: code for name, code in codes.items() if self._tokens.token_to_id(f"<|{code}|>") is not None}

    def recognise(self, rows: tuple[Row, ...]) -> tuple[Result, ...]:
        """Recognise rows. Those of one length that begin with equally many tokens run together."""
        before = [self._before(row) for row in rows]
        alike = [(_length(row), len(tokens)) for row, tokens in zip(rows, before, strict=True)]
        results: dict[int, Result] = {}
        for (length, _), group in groupby(sorted(range(len(rows)), key=alike.__getitem__), alike.__getitem__):
            numbers = list(group)
            together = self._recognise([rows[n] for n in numbers], [before[n] for n in numbers], length)
            results.update(zip(numbers, together, strict=True))
        return tuple(results[n] for n in range(len(rows)))

    def _before(self, row: Row) -> list[int]:
        """Return the tokens of the text before: key terms, as if they had been mentioned, then the prompt's end."""
        if not row.prompt and not row.keyterms:
            return []
        terms = self._encode(", ".join(row.keyterms))[: MOST_BEFORE // 2]
        prompt = self._encode(row.prompt)
        return [self._previous, *terms, *prompt[max(0, len(prompt) - (MOST_BEFORE - len(terms))) :]]

    def _encode(self, text: str) -> list[int]:
        text = text.strip()
        tokens: list[int] = self._tokens.encode(f" {text}", add_special_tokens=False).ids if text else []
        return [token for token in tokens if token < self._end]  # a caller may not insert one that controls decoding

    def _recognise(self, rows: list[Row], before: list[list[int]], length: int) -> list[Result]:
        audio = np.zeros((len(rows), length), np.float32)
        for place, row in enumerate(rows):
            samples = np.frombuffer(row.pcm, "<i2")[:length]
            audio[place, : len(samples)] = samples.astype(np.float32) / 32768
        frames = length * 100 // SAMPLE_RATE
        features = np.stack([self._features(samples)[:, :frames] for samples in audio])
        encoded = self._model.encode(self._array(np.ascontiguousarray(features)))
        results = []
        spoken = self._languages(encoded, rows)
        tokenizers = [
            self._make_tokenizer(
                self._tokens, self._multilingual, "translate" if row.translate else "transcribe", self._codes[language]
            )
            for row, (language, _) in zip(rows, spoken, strict=True)
        ]
        starts = [
            [*first, *each.sot_sequence, each.no_timestamps] for first, each in zip(before, tokenizers, strict=True)
        ]
        prompts = [[*start, *row.prefix] for start, row in zip(starts, rows, strict=True)]
        mosts = [
            transcript.most_tokens(len(row.pcm) // 2, *(() if language == "en" else (TOKENS_PER_SECOND,)))
            for row, (language, _) in zip(rows, spoken, strict=True)
        ]
        most = max(most + len(prompt) for most, prompt in zip(mosts, prompts, strict=True))
        generated = self._model.generate(
            encoded,
            prompts,
            beam_size=1,
            return_scores=True,
            return_no_speech_prob=True,
            max_length=min(MOST_TOKENS, most + transcript.SPARE_TOKENS),
            suppress_tokens=self._suppressed,
        )
        texts = []
        for row, each, row_most in zip(rows, generated, mosts, strict=True):
            tokens = [token for token in each.sequences_ids[0] if token < self._end]
            silent = each.no_speech_prob > NO_SPEECH and each.scores[0] < UNLIKELY
            full = len(tokens) >= row_most
            begin = len(row.prefix)  # the library returns that too
            own = tokens[begin:]
            cut = transcript.loop_start(own, full=full)
            texts.append((tokens[:begin], [] if silent else own if cut is None else own[:cut], cut is not None))
        for place, (prefix, tokens, looped) in enumerate(texts):
            result = self._result(encoded, place, tokenizers[place], prefix, tokens, looped, length)
            result = _within(result, len(rows[place].pcm) // 2 * 1000 // SAMPLE_RATE)
            language, sure = spoken[place]
            results.append(msgspec.structs.replace(result, language=language, language_confidence=sure))
        return results

    def _languages(self, encoded: Any, rows: list[Row]) -> list[tuple[str, float]]:
        """Return the language of each row: the given one, or the likeliest permitted one, with its probability among
        those.
        """
        if not self._multilingual:
            return [("en", 1.0)] * len(rows)
        found: list[list[tuple[str, float]]] = [[]] * len(rows)
        if any(len(row.languages) != 1 for row in rows):
            found = self._model.detect_language(encoded)
        return [
            (row.languages[0], 1.0) if len(row.languages) == 1 else self._likeliest(row.languages, each)
            for row, each in zip(rows, found, strict=True)
        ]

    def _likeliest(self, languages: tuple[str, ...], found: list[tuple[str, float]]) -> tuple[str, float]:
        """Return the likeliest, from pairs of a language's token and its probability."""
        by_token = dict(found)
        likely = {each: by_token.get(f"<|{self._codes[each]}|>", 0.0) for each in languages or self._codes}
        best = max(likely, key=likely.__getitem__)
        return best, min(1.0, likely[best] / (sum(likely.values()) or 1.0))

    def _result(
        self, encoded: Any, place: int, tokenizer: Any, prefix: list[int], own: list[int], looped: bool, length: int
    ) -> Result:
        """Return the result of a row's `own` tokens, which follow those of its `prefix` in the audio."""
        if not own:
            return Result((), (), (), (), (), looped)
        tokens, first = prefix + own, len(prefix)
        features = self._array(np.ascontiguousarray(np.array(encoded)[place : place + 1]))
        (aligned,) = self._model.align(features, tokenizer.sot_sequence, [tokens], [length * 50 // SAMPLE_RATE])
        starts: dict[int, int] = {}
        for token, time in aligned.alignments:
            starts.setdefault(token, time * TIME_MS)
        last = aligned.alignments[-1][1] * TIME_MS if aligned.alignments else 0
        begins = [starts.get(n, last) for n in range(len(tokens) + 1)]
        logprobs = tuple(log(max(probability, 1e-9)) for probability in aligned.text_token_probs[: len(tokens)])
        pieces, earlier = [], ""
        for n in range(1, len(tokens) + 1):
            text = self._tokens.decode(tokens[:n])
            text = earlier if text.endswith("\ufffd") and n < len(tokens) else text
            pieces.append(text[len(earlier) :])
            earlier = text
        starts_ms, ends_ms = tuple(begins[first:-1]), tuple(begins[first + 1 :])
        return Result(tuple(own), transcript.following(pieces, first), logprobs[first:], starts_ms, ends_ms, looped)


def _within(result: Result, end_ms: int) -> Result:
    """Return the result with no time after the end of its audio: the alignment also sees the padding."""
    starts_ms, ends_ms = (tuple(min(end_ms, at) for at in times) for times in (result.starts_ms, result.ends_ms))
    return msgspec.structs.replace(result, starts_ms=starts_ms, ends_ms=ends_ms)


def _length(row: Row) -> int:
    """Return the samples of a row with its padding."""
    return min(MOST, max(LEAST, -(-(len(row.pcm) // 2 + SILENCE) // STEP) * STEP))


def serve(sock: socket.socket) -> None:
    """Serve until the server is gone."""
    link = Link(sock, command_decoder.decode)
    commands = link.commands()
    load = next(commands, None)
    if not isinstance(load, Load):
        return
    try:
        with beating(link.beat):
            model = Model(load)
            model.recognise((Row(bytes(2 * SAMPLE_RATE)),))  # the first run allocates
    except ModuleNotFoundError as error:
        link.send(Unloadable(MISSING if error.name in ("faster_whisper", "ctranslate2") else str(error)))
        return
    except Exception as error:
        link.send(Unloadable(reason(error)))
        return
    link.send(Ready(model.languages))

    def answer(command: Recognise) -> None:
        try:
            report: Recognised | Failed = Recognised(command.number, model.recognise(command.rows))
        except Exception:  # whatever the audio caused in a vendor's library
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
    run(serve)

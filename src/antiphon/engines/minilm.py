"""all-MiniLM-L6-v2 on onnxruntime: a unit vector of 384 numbers for each text, on a CPU.

Rules:

- The mean over a text's tokens, normalised, as the model's card says. A text longer than the model was trained on is
  refused, never truncated.
- A text's vector does not depend on the rest of its batch, except for the last bits of a float.
- Text becomes tokens in a thread. A batch runs on one thread, several side by side: threads that share a batch wait for
  each other at every layer.
- No error contains texts.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.core.errors import CallerError, ContextLengthExceeded, EngineError
from antiphon.core.events import Embedded
from antiphon.core.ports import EngineCall
from antiphon.engines import minilm_graph as graph
from antiphon.engines.batches import Batches, Row, Vector
from antiphon.engines.minilm_graph import Array

CONTEXT = 256  # tokens, including the two around every text; from the model's card, though it has 512 positions
MOST_CHARACTERS = 100 * CONTEXT  # of a text; a word that is longer than 100 is one unknown token
MOST_TOKENS = 300_000  # of one call, OpenAI's own bound
MOST_WAITING_TOKENS = 4_000_000  # of all calls together
MOST_CELLS = 512  # of a batch; more is no faster, and delays new calls


class MiniLM:
    """Implements `core.ports.Embedder`. The folder contains the published `model.safetensors` and `tokenizer.json`.
    Loading blocks for a second or two. Raises `EngineError` for files that are not the model's.
    """

    def __init__(self, folder: Path, *, threads: int) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        try:
            weights = load_file(folder / "model.safetensors")
            text = (folder / "tokenizer.json").read_text()
        except (OSError, SafetensorError) as error:
            raise EngineError("the model's files are missing or damaged") from error
        try:
            self._session = _session(graph.encoder(weights))
            self._tokenizer: Any = Tokenizer.from_str(text)
        except Exception as error:  # a missing weight is a KeyError, but the libraries raise plain exceptions
            raise EngineError("the model's files belong to another model") from error
        # The published file truncates texts to 128 tokens and pads them to as many.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._words: int = self._tokenizer.get_vocab_size()
        self._start, self._end = self._tokenizer.encode("").ids
        self._batches = Batches(self._run, threads=threads, most_cells=MOST_CELLS, most_tokens=MOST_WAITING_TOKENS)

    async def embed(self, texts: Sequence[str | tuple[int, ...]], call: EngineCall) -> Embedded:
        """Return a vector for each text, in order. Raises `ContextLengthExceeded` for a text that is too long,
        `CallerError` for unknown tokens, `CapacityError` if too much waits, `EngineError`.
        """
        self._batches.check()
        rows = await asyncio.to_thread(self._rows, texts)
        tokens = sum(map(len, rows))
        if tokens > MOST_TOKENS:
            message = f"The inputs have {tokens} tokens together; a request has at most {MOST_TOKENS}."
            raise CallerError(message, param="input")
        return Embedded(await self._batches.compute(rows, call.project), tokens)

    async def check(self) -> None:
        self._batches.check()

    async def close(self) -> None:
        await self._batches.close()

    def _rows(self, texts: Sequence[str | tuple[int, ...]]) -> list[Row]:
        """Return the tokens of every text, with those that begin and end it."""
        for number, text in enumerate(texts):
            if len(text) > MOST_CHARACTERS:
                raise _too_long(number, f"more than {MOST_CHARACTERS} characters")
        written = [text for text in texts if isinstance(text, str)]
        encoded = iter(self._tokenizer.encode_batch_fast(written))
        rows = []
        for number, text in enumerate(texts):
            row = tuple(next(encoded).ids) if isinstance(text, str) else self._framed(text, number)
            if len(row) > CONTEXT:
                raise _too_long(number, f"{len(row)} tokens")
            rows.append(row)
        return rows

    def _framed(self, tokens: tuple[int, ...], number: int) -> Row:
        if not all(0 <= token < self._words for token in tokens):
            message = f"Input {number} has a token this model does not have; its own are 0 to {self._words - 1}."
            raise CallerError(message, param="input")
        return (self._start, *tokens, self._end)

    def _run(self, rows: list[Row]) -> list[Vector]:
        vectors: Array = self._session.run(None, _feeds(rows))[0]
        return [tuple(vector) for vector in vectors.tolist()]


def _feeds(rows: list[Row]) -> dict[str, Array]:
    """Return the inputs of `minilm_graph.encoder`."""
    lengths = np.array([len(row) for row in rows])
    row_of = np.repeat(np.arange(len(rows)), lengths)
    tokens = np.concatenate([np.array(row, np.int64) for row in rows])
    numbers = np.arange(len(tokens))
    positions = numbers - np.repeat(np.cumsum(lengths) - lengths, lengths)
    sources = np.zeros((len(rows), lengths.max()), np.int64)
    sources[row_of, positions] = numbers
    members = np.zeros((len(rows), len(tokens)), np.float32)
    members[row_of, numbers] = 1
    cells = np.stack([row_of, positions], axis=1)
    return {
        "tokens": tokens,
        "positions": positions,
        "cells": cells,
        "sources": sources,
        "lengths": lengths,
        "members": members,
    }


def _too_long(number: int, size: str) -> ContextLengthExceeded:
    message = f"This model's maximum context length is {CONTEXT} tokens, however input {number} has {size}."
    return ContextLengthExceeded(f"{message} Please reduce it.", param="input")


def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

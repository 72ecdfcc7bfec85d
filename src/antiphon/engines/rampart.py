"""Rampart on onnxruntime: the names, places and addresses in a text, by a small model on a CPU.

It is by the National Design Studio, CC BY 4.0: a BERT of six layers with 35 labels, its weights in four bits.

Rules:
- A text is read in overlapping windows, each as long as the texts on which the model was trained.
- A span is extended to whole words, and a name of several words is one span.
- Labels of entities with a grammar (numbers, mail addresses) are dropped, except in postal addresses: patterns find
  them better.
- No error contains texts.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from antiphon.core.errors import EngineError
from antiphon.core.redaction import Entity, Span
from antiphon.engines.batches import Batches, Row, Vector

WINDOW, OVERLAP = 480, 64  # characters
MOST_CELLS = 256  # of a batch: rows take as long together as one after the other, and who comes next waits less
MOST_WAITING_TOKENS = 400_000  # of all calls together
BESIDE_CHARACTERS = 20_000  # of a call, whose tokens are made in a thread: more would hold up the event loop
MIN_SCORE = 0.2

_ADDRESS = dict.fromkeys(
    ("BUILDING_NUMBER", "STREET_NAME", "SECONDARY_ADDRESS", "ZIP_CODE"), (Entity.ADDRESS, Entity.PLACE)
)
KINDS: dict[str, tuple[Entity, ...]] = {
    "GIVEN_NAME": (Entity.NAME,),
    "SURNAME": (Entity.NAME,),
    "CITY": (Entity.PLACE, Entity.ADDRESS),
    "STATE": (Entity.PLACE, Entity.ADDRESS),
    **_ADDRESS,
}


class _Piece(NamedTuple):
    """A window of the text of that number: its tokens, and their (start, end) in it."""

    text: int
    start: int
    tokens: Row
    offsets: Sequence[tuple[int, int]]


class Rampart:
    """Implements `core.redaction.Tagger`. The folder contains the published `onnx/model_q4.onnx`, `tokenizer.json` and
    `config.json`. Loading blocks for half a second. Raises `EngineError` for files that are not the model's.
    """

    def __init__(self, folder: Path, *, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            model = _in_integers(folder / "onnx" / "model_q4.onnx")
            self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
            labels = json.loads((folder / "config.json").read_text())["id2label"]
            self._kinds = [KINDS.get(labels[str(n)].partition("-")[2], ()) for n in range(len(labels))]
        except Exception as error:  # the libraries raise plain exceptions
            raise EngineError("the files of the model for redaction are missing or damaged") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._batches = Batches(self._run, threads=threads, most_cells=MOST_CELLS, most_tokens=MOST_WAITING_TOKENS)

    async def tag(self, texts: Sequence[str]) -> list[tuple[Span, ...]]:
        """Return the spans in each text, in order. Raises `CapacityError` if too much waits, `EngineError`."""
        beside = sum(map(len, texts)) > BESIDE_CHARACTERS
        pieces = await asyncio.to_thread(self._pieces, texts) if beside else self._pieces(texts)
        labelled = await self._batches.compute([piece.tokens for piece in pieces])
        if beside:
            return await asyncio.to_thread(self._spans, texts, pieces, labelled)
        return self._spans(texts, pieces, labelled)

    def _pieces(self, texts: Sequence[str]) -> list[_Piece]:
        """Return the windows of the texts as tokens."""
        cut = [(number, start, text[start:end]) for number, text in enumerate(texts) for start, end in windows(text)]
        encoded = self._tokenizer.encode_batch([piece for _, _, piece in cut])
        return [
            _Piece(number, start, tuple(each.ids), each.offsets)
            for (number, start, _), each in zip(cut, encoded, strict=True)
        ]

    def _spans(
        self, texts: Sequence[str], pieces: Sequence[_Piece], labelled: Sequence[Vector]
    ) -> list[tuple[Span, ...]]:
        found: list[list[Span]] = [[] for _ in texts]
        for piece, labels in zip(pieces, labelled, strict=True):
            for (first, last), label in zip(piece.offsets, labels, strict=True):
                if last > first and self._kinds[int(label)]:
                    found[piece.text].append(Span(piece.start + first, piece.start + last, self._kinds[int(label)]))
        return [tuple(grown(text, spans)) for text, spans in zip(texts, found, strict=True)]

    async def close(self) -> None:
        await self._batches.close()

    def _run(self, rows: list[Row]) -> list[Vector]:
        """Return the most probable label of each token, 0 if the token has probably none."""
        longest = max(map(len, rows))
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        logits = self._session.run(None, feeds)[0]
        likelihoods = np.exp(logits - logits.max(axis=-1, keepdims=True))
        likelihoods /= likelihoods.sum(axis=-1, keepdims=True)
        something = 1 - likelihoods[..., 0] >= MIN_SCORE  # whatever it may be
        labels = np.where(something, 1 + likelihoods[..., 1:].argmax(axis=-1), 0)
        return [tuple(labels[number, : len(row)].tolist()) for number, row in enumerate(rows)]


def _in_integers(path: Path) -> bytes:
    """Return the model, made to multiply in integers of eight bits, with a scale for each block of a token's values:
    a short text takes half the time. (By default, ONNX Runtime turns the weights into floats at every call.)
    """
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            node.attribute.append(onnx.helper.make_attribute("accuracy_level", 4))
    return bytes(model.SerializeToString())


def windows(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of the windows of a text: they overlap, and begin and end between words."""
    start = 0
    while True:
        end = min(len(text), start + WINDOW)
        if end < len(text):
            space = text.rfind(" ", start + OVERLAP + 1, end)
            end = space if space > 0 else end
        yield start, end
        if end >= len(text):
            return
        space = text.find(" ", end - OVERLAP, end)
        start = space + 1 if space > 0 else end - OVERLAP


def grown(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Yield spans of whole words; adjacent spans of one kind become one."""
    last: Span | None = None
    for span in sorted(spans, key=lambda each: each.start):
        start, end = span.start, span.end
        while start > 0 and text[start - 1].isalnum():
            start -= 1
        while end < len(text) and text[end].isalnum():
            end += 1
        while end > start and not text[end - 1].isalnum():
            end -= 1
        if end == start:
            continue
        if last is not None and (start < last.end or (span.kinds == last.kinds and _together(text[last.end : start]))):
            last = Span(last.start, max(end, last.end), last.kinds)
            continue
        if last is not None:
            yield last
        last = Span(start, end, span.kinds)
    if last is not None:
        yield last


def _together(between: str) -> bool:
    """Return whether the text between two words keeps them in one name: "Ann Marie", "O'Neill", "St. John"."""
    return len(between) <= 2 and between.strip() in ("", "-", "'", "’", ".")

"""Compiles grammars beside the pipeline, before it gets them.

The pipeline compiles a request's grammar within a step, which all requests would wait for, and a grammar that does not
compile breaks it. So each is compiled first, in a second pipeline whose model computes nothing: all its logits are
zero. Both have the same tokenizer, and with it the same compiler, which caches its results. The compiler does not hold
the interpreter's lock, so that a thread is enough. It forgets nothing, and has no bound: only a new process does.
"""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai
from openvino import opset13 as op

from antiphon import children

_SPARE_TOKENS = 8192  # a model may have more logits than its tokenizer has tokens; this one must not have fewer
_NICER = 10  # than the pipeline, whose steps take several times as long beside a compiler of its own priority


class Grammars:
    """Compiles grammars for the pipeline of that tokenizer, which must have generated something before. `wake` is
    called from another thread when one has been compiled.
    """

    def __init__(self, tokenizer: Any, vocabulary_size: int, wake: Callable[[], object]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            ov.save_model(_zeros(vocabulary_size + _SPARE_TOKENS), Path(folder) / "openvino_model.xml")
            self._pipeline = genai.LLMPipeline(folder, tokenizer, "CPU", ATTENTION_BACKEND="SDPA")
        self._prompt = ov.Tensor(np.zeros((1, 1), np.int64))
        self._wake = wake
        self._thread = ThreadPoolExecutor(1, initializer=_give_way)
        self._compiling: tuple[str, Future[tuple[bool, int]]] | None = None
        self._compiled: set[bytes] = set()  # digests
        self.memory_bytes = 0  # by which the process grew while they were compiled

    def compiled(self, grammar: str) -> bool:
        """Return whether a grammar (a structural tag, as JSON) has been compiled."""
        return _digest(grammar) in self._compiled

    @property
    def busy(self) -> bool:
        """Whether a grammar is being compiled, or its result has not been taken."""
        return self._compiling is not None

    def compile(self, grammar: str) -> None:
        """Begin to compile a grammar. Only one is compiled at a time."""
        assert not self.busy
        future = self._thread.submit(self._measured, grammar)
        self._compiling = grammar, future
        future.add_done_callback(lambda _: self._wake())

    def result(self) -> tuple[str, bool] | None:
        """Return the grammar whose compilation has ended, if one has, and whether it compiles. It is returned once."""
        if self._compiling is None or not self._compiling[1].done():
            return None
        grammar, future = self._compiling
        self._compiling = None
        compiles, grown_bytes = future.result()
        self.memory_bytes += grown_bytes
        if compiles:
            self._compiled.add(_digest(grammar))
        return grammar, compiles

    def _measured(self, grammar: str) -> tuple[bool, int]:
        """Return whether a grammar compiles, and by how many bytes the process grew meanwhile."""
        before = children.resident_bytes(os.getpid())
        compiles = self._compiles(grammar)
        return compiles, max(0, children.resident_bytes(os.getpid()) - before)

    def _compiles(self, grammar: str) -> bool:
        config = genai.GenerationConfig(max_new_tokens=1)
        config.structured_output_config = genai.StructuredOutputConfig(structural_tags_config=grammar)
        try:
            self._pipeline.generate(self._prompt, config)
        except RuntimeError:
            return False
        return True


def _give_way() -> None:
    """Lower the priority of this thread (Linux: `nice` is a thread's own), which those of the compiler inherit."""
    os.nice(_NICER)


def _digest(grammar: str) -> bytes:
    return sha256(grammar.encode()).digest()


def _zeros(size: int) -> ov.Model:
    """Return a language model with the required inputs, and logits of zero."""
    tokens = op.parameter([-1, -1], np.int64, name="input_ids")
    mask = op.parameter([-1, -1], np.int64, name="attention_mask")
    beams = op.parameter([-1], np.int32, name="beam_idx")
    last = op.constant(np.int64(2))
    logits = op.multiply(op.convert(op.unsqueeze(tokens, last), "f32"), op.constant(np.zeros((1, 1, size), np.float32)))
    for unused, axes in ((mask, [0, 1]), (beams, [0])):
        total = op.convert(op.reduce_sum(unused, op.constant(np.array(axes))), "f32")
        logits = op.add(logits, op.multiply(total, op.constant(np.float32(0))))
    for parameter in (tokens, mask, beams):
        parameter.output(0).set_names({parameter.get_friendly_name()})
    logits.output(0).set_names({"logits"})
    return ov.Model([op.result(logits)], [tokens, mask, beams], "zeros")

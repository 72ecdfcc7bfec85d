"""Checks whether a grammar compiles, before the pipeline gets it.

The pipeline compiles a request's grammar within a step, and a grammar that does not compile breaks it. So each is tried
first, in a second pipeline whose model computes nothing: all its logits are zero. Both have the same tokenizer, and
with it the same compiler, which caches its results.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai
from openvino import opset13 as op

_SPARE_TOKENS = 8192  # a model may have more logits than its tokenizer has tokens; this one must not have fewer


class Grammars:
    """Tries grammars for the pipeline of that tokenizer, which must have generated something before."""

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            ov.save_model(_zeros(vocabulary_size + _SPARE_TOKENS), Path(folder) / "openvino_model.xml")
            self._pipeline = genai.LLMPipeline(folder, tokenizer, "CPU", ATTENTION_BACKEND="SDPA")
        self._prompt = ov.Tensor(np.zeros((1, 1), np.int64))

    def compiles(self, grammar: str) -> bool:
        """Return whether a grammar (a structural tag, as JSON) compiles."""
        config = genai.GenerationConfig(max_new_tokens=1)
        config.structured_output_config = genai.StructuredOutputConfig(structural_tags_config=grammar)
        try:
            self._pipeline.generate(self._prompt, config)
        except RuntimeError:
            return False
        return True


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

"""MiniLM against its reference, and its bounds.

`data/minilm.json` holds what sentence-transformers 6.2.0 on torch 2.13.0 (CPU) gives for the same weights.
"""

import asyncio
import base64
import json
from pathlib import Path

import numpy as np
import pytest

from antiphon.core.errors import CallerError, ContextLengthExceeded, EngineError
from antiphon.core.ports import EngineCall
from antiphon.engines.minilm import CONTEXT, MiniLM
from antiphon.models import Store

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "minilm.json").read_text())
TEXTS = [each["text"] for each in REFERENCE]
VECTORS = np.array([np.frombuffer(base64.b64decode(each["vector"]), "<f4") for each in REFERENCE])
CALL = EngineCall("test")


@pytest.fixture(scope="module")
def folder(models: Store) -> Path:
    models.pull(["all-minilm-l6-v2"])
    return models.path("all-minilm-l6-v2")


@pytest.fixture
async def engine(folder):
    engine = MiniLM(folder, threads=2)
    yield engine
    await engine.close()


async def test_it_gives_what_the_reference_gives(engine):
    embedded = await engine.embed(TEXTS, CALL)
    assert embedded.input_tokens == sum(each["tokens"] for each in REFERENCE)
    given = np.array(embedded.vectors)
    assert (given * VECTORS).sum(axis=1).min() > 0.9999
    assert np.abs(given - VECTORS).max() < 1e-5
    assert np.abs(np.linalg.norm(given, axis=1) - 1).max() < 1e-6


async def test_a_vector_does_not_depend_on_what_shares_its_batch(engine):
    alone = [(await engine.embed([text], CALL)).vectors[0] for text in TEXTS]
    shared = await asyncio.gather(*(engine.embed(TEXTS[n:] + TEXTS[:n], CALL) for n in range(len(TEXTS))))
    for n, embedded in enumerate(shared):
        rotated = alone[n:] + alone[:n]
        assert np.abs(np.array(embedded.vectors) - np.array(rotated)).max() < 1e-5


async def test_tokens_mean_what_their_text_means(engine):
    tokens = tuple(engine._tokenizer.encode(TEXTS[0], add_special_tokens=False).ids)
    embedded = await engine.embed([tokens], CALL)
    assert np.abs(np.array(embedded.vectors[0]) - VECTORS[0]).max() < 1e-5
    assert embedded.input_tokens == REFERENCE[0]["tokens"]


async def test_a_text_of_just_the_context_is_read_and_a_longer_one_refused(engine):
    assert (await engine.embed(["word " * (CONTEXT - 2)], CALL)).input_tokens == CONTEXT
    for long in ("word " * (CONTEXT - 1), (1,) * (CONTEXT - 1), "x" * 1_000_000):
        with pytest.raises(ContextLengthExceeded, match="input 1 has") as refused:
            await engine.embed(["short", long], CALL)
        assert refused.value.param == "input"
        assert "word" not in refused.value.message


async def test_tokens_the_model_does_not_have_are_refused(engine):
    for token in (-1, 30_522, 2**70):
        with pytest.raises(CallerError, match="0 to 30521"):
            await engine.embed([(1, token)], CALL)


async def test_all_inputs_together_are_bounded(engine):
    with pytest.raises(CallerError, match="at most 300000"):
        await engine.embed([(1,) * (CONTEXT - 2)] * 1200, CALL)


async def test_files_that_are_not_the_model_are_said_so(tmp_path, folder):
    with pytest.raises(EngineError):
        MiniLM(tmp_path, threads=1)
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(EngineError, match="belong to another model"):
        MiniLM(tmp_path, threads=1)

"""KServe's Python runtime, with its OpenAI endpoints; the Hugging Face runtime is an image of this with vLLM in it."""

from dataclasses import replace
from pathlib import Path

import engine_behaviour as behaviour
from real_engine import SERVERS, Engine, Running, client

from antiphon.core.errors import CallerError, EngineError
from antiphon.core.specs import Sampling
from antiphon.engines.openai_compatible import OpenAICompatible


def command(port: int, model: Path) -> tuple[str | Path, ...]:
    return "python", SERVERS / "kserve_app.py"


ENGINE = Engine("kserve", "kserve", command)


async def test_it_streams(engine: OpenAICompatible) -> None:
    assert await behaviour.streams(engine) == await behaviour.answers(engine)


async def test_whoever_leaves_holds_nothing_here(engine: OpenAICompatible) -> None:
    await behaviour.leaves(engine)
    assert engine.outstanding == 0


async def test_errors(engine: OpenAICompatible, running: Running) -> None:
    hot = replace(behaviour.STREAM, sampling=Sampling(5, temperature=-1.0))
    assert (await behaviour.refuses(engine, hot, CallerError)).param == "temperature"
    other = client(ENGINE, running, "no-such-model")
    await behaviour.refuses(other, behaviour.STREAM, EngineError)
    await other.close()


async def test_it_dies(engine: OpenAICompatible, running: Running) -> None:
    await behaviour.dies(engine, running.kill)

"""BentoML, serving vLLM's own server as its examples do: a command behind BentoML's service."""

from dataclasses import replace
from pathlib import Path

import engine_behaviour as behaviour
from real_engine import SERVERS, Engine, Running, free_port

from antiphon.core.errors import CallerError
from antiphon.core.specs import Sampling
from antiphon.engines.openai_compatible import OpenAICompatible


def command(port: int, model: Path) -> tuple[str | Path, ...]:
    where = ("--host", "127.0.0.1", "--port", str(port), "--working-dir", SERVERS)
    return "bentoml", "serve", "bentoml_service:LLM", *where


INNER = (("VLLM_CPU_KVCACHE_SPACE", "1"), ("BEHIND", str(free_port())))
ENGINE = Engine("bentoml", "bentoml", command, environment=INNER, needs=("vllm",))


async def test_it_streams(engine: OpenAICompatible) -> None:
    assert await behaviour.streams(engine) == await behaviour.answers(engine)


async def test_whoever_leaves_stops_it(engine: OpenAICompatible, running: Running) -> None:
    await behaviour.stops(engine, running)


async def test_errors(engine: OpenAICompatible) -> None:
    hot = replace(behaviour.STREAM, sampling=Sampling(5, temperature=-1.0))
    assert (await behaviour.refuses(engine, hot, CallerError)).param == "temperature"


async def test_it_dies(engine: OpenAICompatible, running: Running) -> None:
    await behaviour.dies(engine, running.kill)

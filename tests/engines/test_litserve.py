"""LitServe's OpenAI spec. It tells no reason but "stop", and does not watch whether anybody listens."""

from pathlib import Path

import engine_behaviour as behaviour
from real_engine import SERVERS, Engine, Running

from antiphon.core.capabilities import Ability
from antiphon.core.events import FinishReason
from antiphon.engines.openai_compatible import OpenAICompatible


def command(port: int, model: Path) -> tuple[str | Path, ...]:
    return "python", SERVERS / "litserve_app.py"


ENGINE = Engine("litserve", "litserve", command)


async def test_it_streams(engine: OpenAICompatible) -> None:
    assert await behaviour.streams(engine, FinishReason.STOP) == await behaviour.answers(engine, FinishReason.STOP)


async def test_whoever_leaves_holds_nothing_here(engine: OpenAICompatible) -> None:
    await behaviour.leaves(engine)
    assert engine.outstanding == 0


def test_what_it_lacks_is_not_sent(engine: OpenAICompatible) -> None:
    assert engine.abilities.isdisjoint({Ability.SEED, Ability.RAW_TEXT})


async def test_it_dies(engine: OpenAICompatible, running: Running) -> None:
    await behaviour.dies(engine, running.kill)

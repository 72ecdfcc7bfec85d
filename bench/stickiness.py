"""What prefix stickiness is worth: two embedded engines behind one pool, conversations of several turns.

`python bench/stickiness.py MODEL` (a GGUF file; `antiphon models path smollm2-135m-instruct` has it) prints, for both
ways of choosing and for turns after the first, the share of prompt tokens that the engine found in its cache, the share
of requests that went where their prefix belongs, and the time to the first token. Both ways take turns, each on
conversations that no engine has seen. Without stickiness each request goes to the least busy engine. The engines keep
whole blocks of 32 tokens, and all that was said before is at best turns / (turns + 2) of what is sent.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from antiphon.core.events import TextDelta, TokenUsage
from antiphon.core.ports import EngineCall
from antiphon.core.specs import GenerateSpec, Message, Role, Sampling
from antiphon.engines.openvino import OpenVinoGenerator, OpenVinoSettings
from antiphon.foundation import SystemClock
from antiphon.pools.backend import Backend
from antiphon.pools.pool import Pool
from antiphon.pools.queue import QueueLimits
from antiphon.pools.routing import prefix_key

WORDS = Path(__file__).read_text().split()


@dataclass
class Turn:
    number: int
    ttft_ms: float
    usage: TokenUsage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--conversations", type=int, default=24)
    parser.add_argument("--concurrency", type=int, default=12)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--words", type=int, default=30, help="in what the user says each time")
    parser.add_argument(
        "--think-s",
        type=float,
        default=3.0,
        help="at most, between two turns; with none, a conversation finds the "
        "engine that it has just left the least busy",
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = asyncio.run(measure(options))
    for way, figures in report.items():
        print(f"{way:8}", "  ".join(f"{name} {value}" for name, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


async def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    ways: dict[str, Callable[[Any], bytes | None]] = {"without": lambda prompt: None, "with": prefix_key}
    turns: dict[str, list[Turn]] = {way: [] for way in ways}
    sticky: dict[str, list[int]] = {way: [] for way in ways}
    async with AsyncExitStack() as stack:
        engines = []
        for _ in range(options.engines):
            engines.append(await OpenVinoGenerator.start(options.model, OpenVinoSettings(threads=1)))
            stack.push_async_callback(engines[-1].close)
        for seed in range(options.rounds):
            for way, key in ways.items():
                backends = Pool(
                    [Backend(str(n), engine) for n, engine in enumerate(engines)], SystemClock(), QueueLimits()
                )
                with patch("antiphon.pools.pool.prefix_key", key):
                    turns[way] += await converse(backends, f"{way} {seed}", options)
                sticky[way] += [backend.sticky for backend in backends.stats().backends]
    return {way: summary(turns[way], sum(sticky[way])) for way in ways}


async def converse(backends: Pool, seed: str, options: argparse.Namespace) -> list[Turn]:
    """All conversations, so many at a time."""
    room = asyncio.Semaphore(options.concurrency)

    async def one(number: int) -> list[Turn]:
        chance = random.Random(f"{seed} {number}")
        messages: tuple[Message, ...] = (Message(Role.SYSTEM, "You are a helpful assistant."),)
        turns = []
        async with room:
            for turn in range(options.turns):
                messages += (Message(Role.USER, " ".join(chance.choices(WORDS, k=options.words))),)
                text, done = await ask(backends, messages, turn)
                messages += (Message(Role.ASSISTANT, text),)
                turns.append(done)
                await asyncio.sleep(chance.uniform(0.0, options.think_s))
        return turns

    return [turn for turns in await asyncio.gather(*map(one, range(options.conversations))) for turn in turns]


async def ask(backends: Pool, messages: tuple[Message, ...], number: int) -> tuple[str, Turn]:
    spec = GenerateSpec("m", messages, sampling=Sampling(max_tokens=16, temperature=0.0))
    begun, first, text, usage = time.perf_counter(), 0.0, "", TokenUsage(0, 0)
    async with aclosing(backends.generate(spec, EngineCall(f"{number}"))) as produced:
        async for batch in produced:
            for event in batch:
                if isinstance(event, TextDelta):
                    first = first or time.perf_counter()
                    text += event.text
                elif isinstance(event, TokenUsage):
                    usage = event
    return text, Turn(number, ((first or time.perf_counter()) - begun) * 1000, usage)


def summary(turns: list[Turn], sticky: int) -> dict[str, float]:
    later = [turn for turn in turns if turn.number]
    times = sorted(turn.ttft_ms for turn in later)
    return {
        "requests": len(turns),
        "cached_share": round(sum(t.usage.cached for t in later) / sum(t.usage.input for t in later), 3),
        "sticky_share": round(sticky / len(turns), 3),
        "ttft_p50_ms": round(median(times), 1),
        "ttft_p95_ms": round(times[int(0.95 * len(times))], 1),
        "input_tokens_mean": round(sum(t.usage.input for t in later) / len(later), 1),
    }


if __name__ == "__main__":
    main()
